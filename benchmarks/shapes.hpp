// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ltxmem/backend/operations.hpp"

/// The shapes that benchmarks are run at, by name.
///
/// Widths are those of LTX-2; tokens are fewer than in a real clip (a 5 second 512p clip has about 6,000 video tokens,
/// a long 1080p one 230,520), so that one run takes seconds. Times per token and workspace per chunk carry over.

namespace ltxmem::bench {

struct Shape {
  const char* name;
  std::int64_t tokens;
  std::int64_t width;   ///< channels of an activation
  std::int64_t hidden;  ///< channels between the two layers of the feed-forward network
  std::int64_t heads;
  std::int64_t head_dim;
};

inline constexpr Shape ltx2_video{"ltx2_video", 2048, 4096, 16384, 32, 128};
inline constexpr Shape ltx2_video_long{"ltx2_video_long", 4096, 4096, 16384, 32, 128};
/// As many tokens as clips of five seconds have at 768 x 512 and at 1920 x 1088, and a long one of the latter; for
/// cards.
inline constexpr Shape ltx2_video_clip{"ltx2_video_clip", 6144, 4096, 16384, 32, 128};
inline constexpr Shape ltx2_video_hd{"ltx2_video_hd", 32640, 4096, 16384, 32, 128};
inline constexpr Shape ltx2_video_minutes{"ltx2_video_minutes", 230520, 4096, 16384, 32, 128};
inline constexpr Shape heads_of_64{"heads_of_64", 4096, 2048, 8192, 32, 64};
inline constexpr Shape ltx2_audio{"ltx2_audio", 126, 2048, 8192, 32, 64};

/// A 3x3x3 convolution that keeps the positions.
struct ConvolutionShape {
  const char* name;
  std::int64_t frames;
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;
  std::int64_t outputs;
};

inline constexpr ConvolutionGeometry cube{.kernel = {3, 3, 3},
                                          .pad_before = {1, 1, 1},
                                          .pad_after = {1, 1, 1},
                                          .padding = {Padding::replicate, Padding::zeros, Padding::zeros}};

/// Of the LTX-2 video decoder, each at the channels of its stage and the positions of a clip of 121 frames at 768 x
/// 512.
inline constexpr ConvolutionShape ltx2_video_decoder[] = {
    {"residual_1024", 16, 16, 24, 1024, 1024}, {"upsample_1024", 16, 16, 24, 1024, 4096},
    {"residual_512", 31, 32, 48, 512, 512},    {"residual_256", 61, 64, 96, 256, 256},
    {"residual_128", 121, 128, 192, 128, 128}, {"pixels", 121, 128, 192, 128, 48}};

}  // namespace ltxmem::bench
