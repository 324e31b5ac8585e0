// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "media/child_process.hpp"
#include "media/ffmpeg.hpp"
#include "media/files.hpp"
#include "media/frame_sink.hpp"

namespace ltx2 {

/// The encoders an MP4 output needs.
Ffmpeg find_ffmpeg_for_mp4();

/// H.264 and AAC in MP4 through ffmpeg.
///
/// Frames are encoded as they come; sound is added by a second run that copies the video stream. So sound may be known
/// before or after the frames, and there is one path for both.
/// Numerics  RGB -> BT.709 limited range 4:2:0, CRF 18. A fixed number of encoder threads and the bitexact flags make
/// the bytes
///           a function of the frames, the sound and the ffmpeg build alone.
class Mp4Sink final : public FrameSink {
 public:
  /// Sizes must be even.
  Mp4Sink(const std::string& path, const FrameFormat& format, std::stop_token stop);

  void write(std::span<const std::uint8_t> frame) override;
  void finish(const std::optional<Audio>& audio) override;

 private:
  std::string path_;
  std::stop_token stop_;
  Ffmpeg ffmpeg_;
  TemporaryOutput video_;
  std::optional<ChildProcess> encoder_;
};

}  // namespace ltx2
