// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

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
inline constexpr Shape heads_of_64{"heads_of_64", 4096, 2048, 8192, 32, 64};
inline constexpr Shape ltx2_audio{"ltx2_audio", 126, 2048, 8192, 32, 64};

}  // namespace ltxmem::bench
