// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/models.hpp"

namespace ltx2 {
namespace {

using ltxmem::IoError;

template <class Part>
const Part& expect_part(const std::optional<Part>& part, const Checkpoint& checkpoint, const char* what) {
  ltxmem::expects<IoError>(part.has_value(), checkpoint.tensors().name(), ": no ", what, " in its configuration");
  return *part;
}

}  // namespace

Models::Models(const GenerateRequest& request, ltxmem::ResourceRef resource)
    : model_(request.checkpoint, resource),
      gemma_(request.gemma, resource),
      tokenizer_((request.gemma / "tokenizer.model").string()) {
  if (request.has_two_stages()) upsampler_.emplace(request.upsampler, resource);
  match();
  for (const LoraRequest& lora : request.loras) {
    loras_.push_back({std::make_shared<LoraFile>(lora.path, resource), lora.strength});
  }
  if (request.distilled_lora) {
    distilled_lora_ = {std::make_shared<LoraFile>(request.distilled_lora->path, resource),
                       request.distilled_lora->strength};
  }
  use_loras(1);  // whether they fit shows now
  use_loras(0);
}

Models::Models(const ModelDescriptions& descriptions) : model_(descriptions.model), gemma_(descriptions.gemma) {
  if (descriptions.upsampler) upsampler_.emplace(*descriptions.upsampler);
  match();
}

void Models::match() const {
  const ModelConfig& config = model_.config();
  const TransformerConfig& transformer = expect_part(config.transformer, model_, "transformer");
  const VideoVaeConfig& video_vae = expect_part(config.video_vae, model_, "video autoencoder");
  expect_part(config.audio_vae, model_, "audio autoencoder");
  expect_part(config.vocoder, model_, "vocoder");
  expect_part(config.video_connector, model_, "text connector");
  expect_part(gemma_.config().gemma, gemma_, "text encoder");
  ltxmem::expects(video_vae.latent_channels == transformer.in_channels, model_.tensors().name(),
                  ": the video autoencoder has ", video_vae.latent_channels, " latent channels, the transformer ",
                  transformer.in_channels);
  if (!upsampler_) return;
  const UpsamplerConfig& upsampler = expect_part(upsampler_->config().upsampler, *upsampler_, "upsampler");
  ltxmem::expects(upsampler.in_channels == transformer.in_channels, upsampler_->tensors().name(), ": ",
                  upsampler.in_channels, " latent channels, the transformer has ", transformer.in_channels);
}

std::vector<std::int32_t> Models::token_ids(std::string_view text, std::int64_t max_length) const {
  if (tokenizer_) return tokenizer_->encode(text, max_length);
  return std::vector<std::int32_t>(static_cast<std::size_t>(max_length));
}

std::size_t Models::mapped_bytes() const {
  std::size_t sum = 0;
  for (const Checkpoint* checkpoint : {&model_, &gemma_, upsampler_ ? &*upsampler_ : nullptr}) {
    if (checkpoint == nullptr) continue;
    for (const ltxmem::SafetensorsFile& file : checkpoint->tensors().files()) sum += file.file_bytes();
  }
  return sum;
}

std::size_t Models::copied_bytes() const {
  std::size_t sum = model_.tensors().copied_bytes() + gemma_.tensors().copied_bytes();
  if (upsampler_) sum += upsampler_->tensors().copied_bytes();
  for (const Lora& lora : loras_) sum += lora.file->tensors().copied_bytes();
  if (distilled_lora_) sum += distilled_lora_->file->tensors().copied_bytes();
  return sum;
}

Facts Models::fingerprints() const {
  Facts prints;
  const auto add = [&](const char* what, const TensorSource& source) {
    prints.emplace_back(what, std::to_string(source.fingerprint()));
  };
  add("checkpoint", model_.tensors());
  add("text encoder", gemma_.tensors());
  if (upsampler_) add("upsampler", upsampler_->tensors());
  for (const Lora& lora : loras_) add("LoRA", lora.file->tensors());
  if (distilled_lora_) add("distilled LoRA", distilled_lora_->file->tensors());
  return prints;
}

void Models::use_loras(float distilled_factor) {
  model_.clear_loras();
  for (const Lora& lora : loras_) model_.add_lora(lora.file, lora.strength);
  if (distilled_lora_ && distilled_factor != 0) {
    model_.add_lora(distilled_lora_->file, distilled_lora_->strength * distilled_factor);
  }
}

}  // namespace ltx2
