// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "synth/inventory.hpp"

#include <map>
#include <string>
#include <utility>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

using ltxmem::DType;
using ltxmem::TensorSpec;
using tensors::List;

namespace {

void checkpoint(List& list, const Description& d) {
  const ModelConfig& c = d.config;
  const std::string dit = "model.diffusion_model.";
  if (d.components.transformer) {
    list.set_prefix(dit);
    tensors::transformer(list, c.transformer.value());
  }
  if (d.components.connectors) {
    list.set_prefix(dit + "video_embeddings_connector.");
    tensors::connector(list, c.video_connector.value());
    list.set_prefix(dit + "audio_embeddings_connector.");
    tensors::connector(list, c.audio_connector.value());
  }
  if (d.components.text) {
    list.set_prefix("text_embedding_projection.");
    tensors::text_projection(list, c.transformer.value(), c.text_projection.value(), d.text_rows, d.text_columns);
  }
  if (d.components.video_vae) {
    list.set_prefix("vae.encoder.");
    tensors::video_encoder(list, c.video_vae.value());
    list.set_prefix("vae.decoder.");
    tensors::video_decoder(list, c.video_vae.value());
    list.set_prefix("vae.");
    tensors::statistics(list, c.video_vae->latent_channels);
  }
  if (d.components.audio_vae) {
    list.set_prefix("audio_vae.encoder.");
    tensors::audio_encoder(list, c.audio_vae.value());
    list.set_prefix("audio_vae.decoder.");
    tensors::audio_decoder(list, c.audio_vae.value());
    list.set_prefix("audio_vae.");
    tensors::statistics(list, c.audio_vae->channels);
  }
  if (d.components.vocoder) {
    list.set_prefix("vocoder.");
    tensors::vocoder(list, c.vocoder.value());
  }
}

void lora(List& list, const Description& d) {
  List all(d.dtype);
  tensors::transformer(all, d.config.transformer.value());
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (TensorSpec& tensor : all.take()) shapes.emplace(std::move(tensor.name), std::move(tensor.shape));
  list.set_prefix("diffusion_model.");
  for (const std::string& module : d.lora_targets) {
    const auto found = shapes.find(module + ".weight");
    if (found == shapes.end() || found->second.size() != 2) {
      throw ltxmem::IoError("LoRA target '" + module + "' is no linear layer of the transformer");
    }
    list.add(module + ".lora_A.weight", {d.lora_rank, found->second[1]});
    list.add(module + ".lora_B.weight", {found->second[0], d.lora_rank});
  }
}

/// Turns the layers that fp8 releases quantize into F8_E4M3 with a scale behind each.
std::vector<TensorSpec> quantized(std::vector<TensorSpec> plain) {
  std::vector<TensorSpec> out;
  for (TensorSpec& tensor : plain) {
    const bool fp8 = is_fp8_layer(tensor.name);
    const std::string scale = tensor.name + "_scale";
    if (fp8) tensor.dtype = DType::f8_e4m3;
    out.push_back(std::move(tensor));
    if (fp8) out.push_back({scale, DType::f32, {}});
  }
  return out;
}

}  // namespace

bool is_fp8_layer(std::string_view name) noexcept {
  static constexpr std::string_view modules[] = {".to_q", ".to_k", ".to_v", ".to_out.0", "ff.net.0.proj", "ff.net.2"};
  static constexpr std::string_view weight = ".weight";
  if (name.find(".transformer_blocks.") == std::string_view::npos || !name.ends_with(weight)) return false;
  name.remove_suffix(weight.size());
  for (const std::string_view module : modules) {
    if (name.ends_with(module)) return true;
  }
  return false;
}

std::vector<TensorSpec> inventory(const Description& d) {
  List list(d.dtype);
  switch (d.kind) {
    case ModelKind::checkpoint: checkpoint(list, d); break;
    case ModelKind::upsampler: tensors::upsampler(list, d.config.upsampler.value()); break;
    case ModelKind::lora: lora(list, d); break;
    case ModelKind::gemma:
      list.set_prefix(d.gemma_prefix);
      tensors::gemma(list, d.config.gemma.value());
      break;
  }
  std::vector<TensorSpec> items = list.take();
  return d.fp8 ? quantized(std::move(items)) : items;
}

}  // namespace ltx2
