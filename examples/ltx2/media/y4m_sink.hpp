// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "media/files.hpp"
#include "media/frame_sink.hpp"

namespace ltx2 {

/// RGB levels -> Y, Cb, Cr levels of BT.709, limited range.
///
/// Computes  Y  = 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B) / 255, Cb = 128 + 224 (B - L) / (1.8556 * 255),
///           Cr = 128 + 224 (R - L) / (1.5748 * 255), L the bracket of Y; in double, rounded half up
/// Source    Rec. ITU-R BT.709-6, sections 3.2 to 3.5
std::array<std::uint8_t, 3> rgb_to_ycbcr(std::uint8_t red, std::uint8_t green, std::uint8_t blue) noexcept;

/// "dir/clip.y4m" -> "dir/clip.wav"
std::string sound_path_beside(const std::string& path);

/// YUV4MPEG2: 4:4:4, 8 bits, BT.709 limited range; sound beside it as a WAV file of the same name.
class Y4mSink final : public FrameSink {
 public:
  Y4mSink(const std::string& path, const FrameFormat& format);

  void write(std::span<const std::uint8_t> frame) override;
  void finish(const std::optional<Audio>& audio) override;

 private:
  TemporaryOutput output_;
  FileWriter writer_;
  std::vector<std::byte> planes_;
};

}  // namespace ltx2
