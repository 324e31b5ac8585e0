// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/png_sink.hpp"

namespace ltx2 {

PngSink::PngSink(const std::string& path, const FrameFormat& format)
    : output_(path, TemporaryOutput::Kind::folder),
      image_{.width = format.width, .height = format.height, .pixels = {}} {}

void PngSink::write(std::span<const std::uint8_t> frame) {
  image_.pixels.assign(frame.begin(), frame.end());
  std::string number = std::to_string(next_++);
  if (number.size() < 5) number.insert(0, 5 - number.size(), '0');
  write_into_folder("frame_" + number + ".png", encode_png(image_, output_.final_path()));
}

void PngSink::finish(const std::optional<Audio>& audio) {
  if (audio) write_into_folder("audio.wav", encode_wav(*audio, output_.final_path()));
  output_.commit();
}

void PngSink::write_into_folder(const std::string& name, std::span<const std::byte> data) {
  FileWriter writer(output_.path() + "/" + name, output_.final_path() + "/" + name);
  writer.write(data);
  writer.close();
}

}  // namespace ltx2
