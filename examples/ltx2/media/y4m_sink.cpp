// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/y4m_sink.hpp"

#include <cmath>
#include <cstddef>
#include <filesystem>

namespace ltx2 {

std::array<std::uint8_t, 3> rgb_to_ycbcr(std::uint8_t red, std::uint8_t green, std::uint8_t blue) noexcept {
  const double luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  const auto level = [](double value) { return static_cast<std::uint8_t>(std::floor(value + 0.5)); };
  return {level(16.0 + 219.0 / 255.0 * luma), level(128.0 + 224.0 / (1.8556 * 255.0) * (blue - luma)),
          level(128.0 + 224.0 / (1.5748 * 255.0) * (red - luma))};
}

std::string sound_path_beside(const std::string& path) {
  return std::filesystem::path(path).replace_extension(".wav").string();
}

Y4mSink::Y4mSink(const std::string& path, const FrameFormat& format)
    : output_(path),
      writer_(output_.path(), path),
      planes_(static_cast<std::size_t>(format.width * format.height) * 3) {
  writer_.write("YUV4MPEG2 W" + std::to_string(format.width) + " H" + std::to_string(format.height) + " F" +
                std::to_string(format.rate.numerator) + ":" + std::to_string(format.rate.denominator) +
                " Ip A1:1 C444 XCOLORRANGE=LIMITED\n");
}

void Y4mSink::write(std::span<const std::uint8_t> frame) {
  const std::size_t pixels = planes_.size() / 3;
  for (std::size_t i = 0; i < pixels; ++i) {
    const auto converted = rgb_to_ycbcr(frame[3 * i], frame[3 * i + 1], frame[3 * i + 2]);
    for (std::size_t plane = 0; plane < 3; ++plane) planes_[plane * pixels + i] = std::byte{converted[plane]};
  }
  writer_.write("FRAME\n");
  writer_.write(planes_);
}

void Y4mSink::finish(const std::optional<Audio>& audio) {
  writer_.close();
  if (!audio) {
    output_.commit();
    return;
  }
  // Both files are complete before either gets its name.
  const std::string sound_path = sound_path_beside(output_.final_path());
  TemporaryOutput sound(sound_path);
  FileWriter writer(sound.path(), sound_path);
  writer.write(encode_wav(*audio, sound_path));
  writer.close();
  sound.commit();
  output_.commit();
}

}  // namespace ltx2
