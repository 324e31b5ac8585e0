// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "media/wav.hpp"

namespace ltx2 {

/// A frame rate as the fraction that file formats want.
struct FrameRate {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;
};

/// Whole numbers stay; what is within 0.001 of N * 1000/1001 becomes that (23.976 -> 24000/1001); anything else is
/// rounded to thousandths.
///
/// Throws    ShapeError unless 0.001 <= value <= 1000
FrameRate to_frame_rate(double frames_per_second);

struct FrameFormat {
  std::int64_t width = 0;
  std::int64_t height = 0;
  FrameRate rate;
};

/// One kind of video output. Destroyed without finish(), it leaves nothing behind.
class FrameSink {
 public:
  FrameSink() = default;
  FrameSink(const FrameSink&) = delete;
  FrameSink& operator=(const FrameSink&) = delete;
  virtual ~FrameSink() = default;

  /// One frame, [height, width, 3] RGB.
  virtual void write(std::span<const std::uint8_t> frame) = 0;
  /// Completes the output, with sound if there is any, and gives it its name.
  virtual void finish(const std::optional<Audio>& audio) = 0;
};

}  // namespace ltx2
