// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ltxmem/core/tensor_view.hpp"

/// Sizes of the latents of a clip, their order as tokens, and where a token is in space and time.
/// Source  docs/ltx2/transformer.md 4 and docs/ltx2/sampling.md 2
///
/// Positions are computed in fp32 in the order of operations of the official code: rotary angles multiply them by up to
/// 15708, so that another order shows in the fourth digit of a result.

namespace ltx2 {

inline constexpr std::int64_t latent_cell_pixels = 32;  ///< height and width of a video latent cell
inline constexpr std::int64_t latent_cell_frames = 8;   ///< frames of a video latent cell but the first, which has 1

/// Cells of a video latent. Token order: frame, then row, then column; a token holds the channels of one cell.
struct VideoGrid {
  std::int64_t frames = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;

  std::int64_t frame_tokens() const noexcept { return height * width; }
  std::int64_t tokens() const noexcept { return frames * height * width; }
  friend bool operator==(const VideoGrid&, const VideoGrid&) = default;
};

/// Grid of a clip in pixels. ShapeError unless frames is 1 more than a multiple of 8 and the sides are multiples of 32.
VideoGrid video_grid(std::int64_t frames, std::int64_t height, std::int64_t width);

/// Audio latent frames of a clip: 25 per second, halves rounded to the even number.
std::int64_t audio_latent_frames(std::int64_t frames, double fps);

/// Half-open interval on one axis, in seconds or pixels.
struct Interval {
  float begin = 0;
  float end = 0;
  float middle() const noexcept { return (begin + end) / 2.0F; }
};

/// Seconds that latent frame f of a video covers.
Interval latent_frame_interval(std::int64_t frame, double fps);
/// Seconds that pixel frame k covers: the position of a keyframe's tokens.
Interval pixel_frame_interval(std::int64_t frame, double fps);
/// Pixels that a latent row or column covers.
Interval cell_interval(std::int64_t cell);
/// Seconds that audio latent frame t covers: four mel frames of 10 ms, the first one three shorter.
Interval audio_frame_interval(std::int64_t frame);

/// Midpoints (seconds, pixels down, pixels right) of all tokens of a grid, [grid tokens, 3].
void fill_video_midpoints(const VideoGrid& grid, double fps, ltxmem::TensorView<float, 2> midpoints);
/// The same for the tokens of one keyframe, [grid frame tokens, 3].
void fill_keyframe_midpoints(const VideoGrid& grid, std::int64_t pixel_frame, double fps,
                             ltxmem::TensorView<float, 2> midpoints);
/// Midpoints (seconds) of audio tokens, [tokens, 1].
void fill_audio_midpoints(ltxmem::TensorView<float, 2> midpoints);

/// Video latent [channels, cells] as files hold it, to tokens [cells, channels] and back.
void video_tokens_from_planes(ltxmem::TensorView<const float, 2> planes, ltxmem::TensorView<float, 2> tokens);
void video_planes_from_tokens(ltxmem::TensorView<const float, 2> tokens, ltxmem::TensorView<float, 2> planes);

/// Audio latent [channels, frames, bins] to tokens [frames, channels * bins], bins fastest, and back.
void audio_tokens_from_planes(ltxmem::TensorView<const float, 3> planes, ltxmem::TensorView<float, 2> tokens);
void audio_planes_from_tokens(ltxmem::TensorView<const float, 2> tokens, ltxmem::TensorView<float, 3> planes);

}  // namespace ltx2
