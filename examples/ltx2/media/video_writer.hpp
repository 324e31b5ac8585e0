// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "media/frame_sink.hpp"
#include "media/wav.hpp"

namespace ltx2 {

/// Checks, before hours of work, that an output of this name can be written: a known kind, an existing folder in which
/// files can be created (one is, and removed again), no folder of the same name in the way; for a folder of pictures
/// also that it is absent or empty, for .mp4 that there is an ffmpeg with libx264 and aac.
///
/// Throws    IoError naming the path, the cause and, where ffmpeg is the trouble, the kinds that do without
void check_output(const std::string& path);

/// Display level of a value in [0, 1]: floor(255 x + 0.5), limited to 0..255; NaN becomes 0.
std::uint8_t to_level(float value) noexcept;

/// Writes a video while its frames are being made. The name decides the kind:
///
///   NAME.mp4   H.264 (libx264, CRF 18, 4:2:0) and AAC through an ffmpeg child process
///   NAME.y4m   uncompressed 4:4:4 (y4m_sink.hpp), sound beside it in NAME.wav
///   NAME/      a folder of PNG pictures frame_00000.png, ... and audio.wav
///
/// Everything goes to temporary names; finish() gives the outputs their names. Without it (an exception, a stop
/// request) nothing is left, not even partially. The same calls give the same bytes.
///
/// Memory    one frame as bytes, and the sound
/// Throws    IoError naming the path and the cause (a full disk, an ffmpeg that died and its last messages); ShapeError
/// for
///           sizes; Cancelled
class VideoWriter {
 public:
  VideoWriter(std::string path, std::int64_t width, std::int64_t height, double frames_per_second,
              std::stop_token stop = {});

  /// Any whole number of frames, [n, height, width, 3] in [0, 1].
  void write(std::span<const float> frames);
  /// The same as display levels.
  void write(std::span<const std::uint8_t> frames);

  /// The sound, before, between or after the frames; at most once.
  void set_audio(Audio audio);

  void finish();

  std::int64_t frame_count() const noexcept { return frame_count_; }
  /// How many values were NaN (and are black in the video): a sign that the computation failed.
  std::int64_t nan_count() const noexcept { return nan_count_; }

 private:
  std::int64_t frame_values(std::size_t given) const;

  std::string path_;
  std::int64_t width_;
  std::int64_t height_;
  std::unique_ptr<FrameSink> sink_;
  std::vector<std::uint8_t> frame_;
  std::optional<Audio> audio_;
  std::int64_t frame_count_ = 0;
  std::int64_t nan_count_ = 0;
};

}  // namespace ltx2
