// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model_config.hpp"
#include "sampler/guidance.hpp"

/// What a user asks for, before any model is opened, and the presets of the pipelines.
/// Source  docs/ltx2/sampling.md 2, 5 and 7

namespace ltx2 {

enum class PipelineKind : std::uint8_t {
  distilled,  ///< distilled checkpoint: 8 steps at half size, 3 at full size, no guidance
  two_stage,  ///< full checkpoint: guided steps at half size, then the distilled LoRA at full size
  hq,         ///< as two_stage with the second-order solver and the distilled LoRA in both stages
  one_stage,  ///< full checkpoint: guided steps at full size
};

std::string_view pipeline_name(PipelineKind kind) noexcept;
std::optional<PipelineKind> pipeline_from_name(std::string_view name) noexcept;

/// An image that the clip starts from (frame 0) or passes through.
struct ImageRequest {
  std::filesystem::path path;
  std::int64_t frame = 0;
  float strength = 1.0F;
  int crf = 33;  ///< H.264 quality of the round trip that mimics training data; 0: none
};

struct LoraRequest {
  std::filesystem::path path;
  float strength = 1.0F;
};

struct GenerateRequest {
  PipelineKind pipeline = PipelineKind::distilled;
  std::filesystem::path checkpoint;
  std::filesystem::path gemma;
  std::filesystem::path upsampler;
  std::optional<LoraRequest> distilled_lora;
  std::vector<LoraRequest> loras;

  std::string prompt;
  std::string negative_prompt;
  std::int64_t max_length = 1024;  ///< rows of text context

  std::int64_t width = 1536;
  std::int64_t height = 1024;
  std::int64_t frames = 121;
  double fps = 24;
  std::int64_t steps = 0;  ///< 0: the pipeline's own number
  std::uint64_t seed = 10;
  std::vector<ImageRequest> images;
  Guidance guidance;

  bool has_two_stages() const noexcept { return pipeline != PipelineKind::one_stage; }
  bool is_guided() const noexcept { return pipeline != PipelineKind::distilled; }
};

/// Steps and guidance that a pipeline uses when nothing else is asked for.
struct PipelinePreset {
  std::int64_t steps = 8;
  Guidance guidance;
};
PipelinePreset pipeline_preset(PipelineKind kind, ModelVersion version);

/// Text that guided pipelines steer away from unless the user gives another.
std::string_view default_negative_prompt() noexcept;

/// What a user should know about a clip before it is made.
std::vector<std::string> clip_warnings(const GenerateRequest& request);

/// What validate() checks of the clip and its sampling alone, whatever the files.
void validate_clip(const GenerateRequest& request);

/// Throws ShapeError or IoError naming the option, the value found and the value expected when the request cannot be
/// carried out, whatever the models: sizes, frame counts, missing or superfluous files, images outside the clip.
void validate(const GenerateRequest& request);

}  // namespace ltx2
