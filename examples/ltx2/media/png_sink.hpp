// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "media/files.hpp"
#include "media/frame_sink.hpp"
#include "media/image.hpp"

namespace ltx2 {

/// A folder of pictures frame_00000.png, frame_00001.png, ... and audio.wav. The folder appears when it is complete.
class PngSink final : public FrameSink {
 public:
  PngSink(const std::string& path, const FrameFormat& format);

  void write(std::span<const std::uint8_t> frame) override;
  void finish(const std::optional<Audio>& audio) override;

 private:
  void write_into_folder(const std::string& name, std::span<const std::byte> data);

  TemporaryOutput output_;
  Image image_;
  std::int64_t next_ = 0;
};

}  // namespace ltx2
