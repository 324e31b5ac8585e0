// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>

#include "ltxmem/core/tensor.hpp"
#include "media/image.hpp"
#include "pipeline/models.hpp"
#include "pipeline/request.hpp"
#include "runtime/runtime.hpp"
#include "sampler/denoise.hpp"
#include "sampler/latent_shape.hpp"
#include "sampler/noise.hpp"
#include "video_vae/video_vae.hpp"

/// From a prompt to latents, and from latents to pictures and sound.
/// Source  docs/ltx2/sampling.md 7

namespace ltx2 {

/// An image as it enters the clip: read, and recompressed if that was asked for, but not yet resized.
struct PlacedImage {
  Image image;
  std::int64_t frame = 0;
  float strength = 1.0F;
};

/// Both contexts of one prompt, [rows, width].
struct EncodedPrompt {
  ltxmem::Tensor<float, 2> video;
  ltxmem::Tensor<float, 2> audio;
};

/// Clean latents of a clip as tokens.
struct Latents {
  VideoGrid grid;
  ltxmem::Tensor<float, 2> video;  ///< [grid tokens, channels]
  ltxmem::Tensor<float, 2> audio;  ///< [frames, channels * bins]
};

/// What sampling made, with what it made on the way unless that was left out: small beside the pictures.
struct Sample {
  EncodedPrompt prompt;
  std::optional<Latents> first_stage;
  std::optional<ltxmem::Tensor<float, 2>> upsampled;  ///< video of the first stage at the second one's size
  Latents result;
};

/// How far a run has come, after a step: enough for another one to go on from there. Borrowed.
struct SavedSteps {
  int stage = 1;  ///< 1 or 2
  StepsDone steps;
  ltxmem::TensorView<const float, 2> video;  ///< noisy latents, [tokens, channels]
  ltxmem::TensorView<const float, 2> audio;
  ltxmem::TensorView<const float, 2> first_sound;  ///< sound that stage 1 ended with, where the clip keeps it
};

struct PipelineHooks {
  std::stop_token stop{};
  std::function<void(const SavedSteps&)> on_step{};  ///< after every step of a run, not of a plan; may be empty
  const SavedSteps* resume = nullptr;                ///< stages and steps before it are left out
  /// Writes the initial noise [tokens, channels] of stage 1 or 2; empty: drawn from the seed.
  std::function<void(int stage, Modality, ltxmem::TensorView<float, 2>)> initial_noise{};
};

/// Runs the request's pipeline up to clean latents.
///
/// Memory   each stage's planned workspace; between stages contexts and latents
/// Throws   ShapeError (steps to resume from that are not of such a run, too), IoError (models that do not fit each
///          other), OutOfMemory, Cancelled
Sample run_pipeline(const GenerateRequest& request, Models& models, std::span<const PlacedImage> images,
                    Runtime& runtime, const PipelineHooks& hooks);

/// The stage that decode_frames runs in.
inline constexpr const char* video_decode_stage = "video decode";

/// Hands over frames [n, height, width, 3] in [0, 1] as they are made.
void decode_frames(const Models& models, const Latents& latents, Runtime& runtime, const FrameConsumer& consume);

struct Sound {
  ltxmem::Tensor<float, 2> waveform;  ///< [samples, 2] in [-1, 1]
  std::int64_t sample_rate = 0;
};
Sound decode_sound(const Models& models, const Latents& latents, Runtime& runtime);

}  // namespace ltx2
