// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "ltxmem/core/tensor.hpp"
#include "runtime/host_work.hpp"
#include "sampler/latent_shape.hpp"
#include "sampler/noise.hpp"

/// What a sampling run carries for one modality, and how images enter it.
/// Source  docs/ltx2/sampling.md 6

namespace ltx2 {

/// Tokens in the course of being denoised.
///
/// Memory  (2 * channels + axes + 1) * tokens floats; mask and midpoints are real in a dry run as well
struct LatentState {
  ltxmem::Tensor<float, 2> latent;     ///< [tokens, channels]
  ltxmem::Tensor<float, 2> clean;      ///< [tokens, channels]: what tokens with mask below 1 are held to
  ltxmem::Tensor<float, 1> mask;       ///< [tokens]: 1 generate, 0 keep
  ltxmem::Tensor<float, 2> midpoints;  ///< [tokens, axes]: middle of the interval that a token covers on each axis
  std::int64_t grid_tokens = 0;        ///< tokens of the result; those after them are keyframes
  bool frozen = false;                 ///< given, not generated: mask 0 everywhere, the model is told sigma 0

  std::int64_t tokens() const noexcept { return latent.extent(0); }
  std::int64_t channels() const noexcept { return latent.extent(1); }
  ltxmem::TensorView<const float, 2> result() const { return latent.view().rows(0, grid_tokens); }
};

/// An encoded image: latent tokens [height * width, channels] of one latent frame. At pixel frame 0 it replaces the
/// first latent frame; at a later one it is appended as a keyframe that the other tokens see.
struct ImageCondition {
  ltxmem::TensorView<const float, 2> tokens;
  std::int64_t frame = 0;
  float strength = 1.0F;  ///< 1 keeps the image, 0 ignores it
};

/// Video state before noise: the initial latent [grid tokens, channels], or zeros when it is empty, and the conditions
/// applied in order. ShapeError for tokens of other sizes, frames outside the clip, strengths outside [0, 1].
LatentState make_video_state(const HostWork& host, const VideoGrid& grid, std::int64_t channels, double fps,
                             ltxmem::TensorView<const float, 2> initial, std::span<const ImageCondition> conditions);

/// Audio state before noise; a frozen one is given as initial and stays.
LatentState make_audio_state(const HostWork& host, std::int64_t tokens, std::int64_t channels,
                             ltxmem::TensorView<const float, 2> initial, bool frozen = false);

/// latent = (1 - scale) latent + scale noise, then blended with clean by the mask. Scale 1 forgets the initial latent.
void add_noise(const HostWork& host, LatentState& state, ltxmem::TensorView<const float, 2> noise, float scale);

/// The same with noise that is drawn from a stream and never stored.
void add_noise(const HostWork& host, LatentState& state, const NoiseStream& stream, float scale);

}  // namespace ltx2
