// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/request.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "sampler/latent_shape.hpp"

namespace ltx2 {
namespace {

constexpr std::array<std::pair<PipelineKind, std::string_view>, 4> pipeline_names{{
    {PipelineKind::distilled, "distilled"},
    {PipelineKind::two_stage, "two-stage"},
    {PipelineKind::hq, "hq"},
    {PipelineKind::one_stage, "one-stage"},
}};

void check_side(const char* option, std::int64_t value, std::int64_t unit) {
  ltxmem::expects(value > 0 && value % unit == 0, option, " ", value, ", expected a positive multiple of ", unit);
  ltxmem::expects(value <= 65536, option, " ", value, ", expected at most 65536");
}

void check_file(const char* option, const std::filesystem::path& path, const char* what) {
  ltxmem::expects<ltxmem::IoError>(!path.empty(), option, " is missing: ", what);
  ltxmem::expects<ltxmem::IoError>(std::filesystem::exists(path), option, " ", path.string(), ": no such file");
}

}  // namespace

std::string_view pipeline_name(PipelineKind kind) noexcept {
  for (const auto& [known, name] : pipeline_names) {
    if (known == kind) return name;
  }
  return "?";
}

std::optional<PipelineKind> pipeline_from_name(std::string_view name) noexcept {
  for (const auto& [kind, known] : pipeline_names) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

PipelinePreset pipeline_preset(PipelineKind kind, ModelVersion version) {
  const auto guided = [](float cfg, float stg, float rescale, std::vector<std::int64_t> stg_blocks) {
    return ModalityGuidance{
        .cfg = cfg, .stg = stg, .modality = 3, .rescale = rescale, .stg_blocks = std::move(stg_blocks)};
  };
  switch (kind) {
    case PipelineKind::distilled: return {};
    case PipelineKind::hq: return {15, {guided(3, 0, 0.45F, {}), guided(7, 0, 1.0F, {})}};
    case PipelineKind::two_stage:
    case PipelineKind::one_stage: break;
  }
  const bool is_2_0 = version == ModelVersion::v2_0;
  const std::int64_t stg_block = is_2_0 ? 29 : 28;
  return {is_2_0 ? 40 : 30, {guided(3, 1, 0.7F, {stg_block}), guided(7, 1, 0.7F, {stg_block})}};
}

std::string_view default_negative_prompt() noexcept {
  return "low quality, blurry or out of focus, smeared details, compression artifacts, banding, flicker, jerky or "
         "frozen motion, ghosting, warped faces, malformed hands, extra limbs, drifting identity, distorted text, "
         "subtitles, watermark, logo, over-exposed, washed-out colours, muffled or clipped sound, hiss, hum, "
         "crackling, "
         "off-sync speech, robotic voice, abrupt cuts in the audio";
}

std::vector<std::string> clip_warnings(const GenerateRequest& request) {
  constexpr double trained_seconds = 20;
  const double seconds = static_cast<double>(request.frames) / request.fps;
  if (seconds <= trained_seconds) return {};
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", seconds);
  return {std::string(text) + " s of video: the model was trained on positions up to 20 s"};
}

void validate_clip(const GenerateRequest& request) {
  const std::int64_t unit = request.has_two_stages() ? 2 * latent_cell_pixels : latent_cell_pixels;
  check_side("--width", request.width, unit);
  check_side("--height", request.height, unit);
  ltxmem::expects(request.frames <= 1'000'000, "--num-frames ", request.frames, ", expected at most 1000000");
  ltxmem::expects(request.frames > 0 && (request.frames - 1) % latent_cell_frames == 0, "--num-frames ", request.frames,
                  ", expected one more than a multiple of 8, such as ",
                  ltxmem::round_up(std::max<std::int64_t>(request.frames, 1) - 1, latent_cell_frames) + 1);
  // A clip of the most frames then still has fewer seconds than a 64-bit number of sound samples can count.
  ltxmem::expects(std::isfinite(request.fps) && request.fps >= 0.01 && request.fps <= 1000, "--frame-rate ",
                  request.fps, ", expected from 0.01 to 1000");
  ltxmem::expects(request.steps == 0 || request.is_guided(),
                  "--num-inference-steps: the distilled pipeline has fixed steps");
  ltxmem::expects(request.steps == 0 || request.steps >= 2, "--num-inference-steps ", request.steps,
                  ", expected at least 2");
  for (const ImageRequest& image : request.images) {
    const std::string option = "--image " + image.path.string();
    ltxmem::expects(image.frame >= 0 && image.frame < request.frames, option, ": frame ", image.frame,
                    " of a clip with frames 0 to ", request.frames - 1);
    ltxmem::expects(image.strength >= 0 && image.strength <= 1, option, ": strength ", image.strength,
                    ", expected 0 to 1");
    ltxmem::expects(image.crf >= 0 && image.crf <= 51, option, ": CRF ", image.crf, ", expected 0 to 51");
  }
}

void validate(const GenerateRequest& request) {
  validate_clip(request);
  for (const ImageRequest& image : request.images) check_file("--image", image.path, "a picture");
  check_file("--checkpoint-path", request.checkpoint, "a model file");
  check_file("--gemma-root", request.gemma, "the folder of the text encoder");
  if (request.has_two_stages()) {
    check_file("--spatial-upsampler-path", request.upsampler, "this pipeline enlarges its first stage with it");
  }
  const bool needs_lora = request.pipeline == PipelineKind::two_stage || request.pipeline == PipelineKind::hq;
  if (needs_lora) {
    ltxmem::expects<ltxmem::IoError>(request.distilled_lora.has_value(),
                                     "--distilled-lora is missing: the second stage of this pipeline runs with it");
  }
  ltxmem::expects(needs_lora || !request.distilled_lora, "--distilled-lora: the ", pipeline_name(request.pipeline),
                  " pipeline does not use it");
  if (request.distilled_lora) check_file("--distilled-lora", request.distilled_lora->path, "a LoRA file");
  for (const LoraRequest& lora : request.loras) check_file("--lora", lora.path, "a LoRA file");
}

}  // namespace ltx2
