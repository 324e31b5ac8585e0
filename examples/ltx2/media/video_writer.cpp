// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/video_writer.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <system_error>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "media/files.hpp"
#include "media/mp4_sink.hpp"
#include "media/png_sink.hpp"
#include "media/y4m_sink.hpp"

namespace ltx2 {
namespace {

enum class OutputKind { mp4, y4m, folder };

OutputKind output_kind(const std::string& path) {
  if (path.ends_with('/')) return OutputKind::folder;
  if (path.ends_with(".mp4")) return OutputKind::mp4;
  if (path.ends_with(".y4m")) return OutputKind::y4m;
  throw ltxmem::IoError(path + ": unknown kind of output, the name must end with .mp4, .y4m or / (a folder of PNG)");
}

std::unique_ptr<FrameSink> make_sink(const std::string& path, const FrameFormat& format, std::stop_token stop) {
  switch (output_kind(path)) {
    case OutputKind::mp4: return std::make_unique<Mp4Sink>(path, format, std::move(stop));
    case OutputKind::y4m: return std::make_unique<Y4mSink>(path, format);
    case OutputKind::folder: return std::make_unique<PngSink>(path, format);
  }
  throw ltxmem::IoError(path + ": unknown kind of output");
}

}  // namespace

FrameRate to_frame_rate(double frames_per_second) {
  ltxmem::expects(frames_per_second >= 0.001 && frames_per_second <= 1000.0, "frame rate ", frames_per_second,
                  ", must be between 0.001 and 1000");
  const auto thousandths = static_cast<std::int64_t>(std::llround(frames_per_second * 1000.0));
  if (thousandths % 1000 == 0) return {thousandths / 1000, 1};
  const double nominal = std::round(frames_per_second * 1.001);
  if (nominal >= 1.0 && std::abs(nominal / 1.001 - frames_per_second) < 0.001) {
    return {static_cast<std::int64_t>(nominal) * 1000, 1001};
  }
  const std::int64_t divisor = std::gcd(thousandths, std::int64_t{1000});
  return {thousandths / divisor, 1000 / divisor};
}

void check_output(const std::string& path) {
  const OutputKind kind = output_kind(path);
  std::error_code ignored;
  if (kind == OutputKind::folder) {
    const bool exists = std::filesystem::exists(path.substr(0, path.size() - 1), ignored);
    if (exists && !std::filesystem::is_directory(path, ignored)) {
      throw ltxmem::IoError(path + ": exists and is not a folder");
    }
    if (exists && !std::filesystem::is_empty(path, ignored)) {
      throw ltxmem::IoError(path + ": the folder is not empty, give one that is new or empty");
    }
  } else if (std::filesystem::is_directory(path, ignored)) {
    throw ltxmem::IoError(path + ": is a folder; end the name with / for a folder of PNG");
  } else if (kind == OutputKind::y4m && std::filesystem::is_directory(sound_path_beside(path), ignored)) {
    throw ltxmem::IoError(sound_path_beside(path) + ": is a folder, the sound would go there");
  }
  const std::filesystem::path parent =
      std::filesystem::path(kind == OutputKind::folder ? path.substr(0, path.size() - 1) : path).parent_path();
  if (!parent.empty() && !std::filesystem::is_directory(parent, ignored)) {
    throw ltxmem::IoError(path + ": there is no folder " + parent.string());
  }
  if (kind != OutputKind::folder) expect_replaceable(path);
  if (kind == OutputKind::y4m) expect_replaceable(sound_path_beside(path));
  const TemporaryOutput probe(path);
  if (kind == OutputKind::mp4) {
    const Ffmpeg ffmpeg = find_ffmpeg_for_mp4();
    if (!ffmpeg.problem.empty()) {
      throw ltxmem::IoError(path + ": " + ffmpeg.problem +
                            "; install ffmpeg, or choose a name that ends with .y4m or /");
    }
  }
}

std::uint8_t to_level(float value) noexcept {
  if (!(value > 0.0F)) return 0;
  if (value >= 1.0F) return 255;
  return static_cast<std::uint8_t>(std::floor(255.0F * value + 0.5F));
}

VideoWriter::VideoWriter(std::string path, std::int64_t width, std::int64_t height, double frames_per_second,
                         std::stop_token stop)
    : path_(std::move(path)), width_(width), height_(height) {
  ltxmem::expects(width >= 1 && width <= 16384 && height >= 1 && height <= 16384, path_, ": ", width, " x ", height,
                  " pixels, each side must be between 1 and 16384");
  sink_ =
      make_sink(path_, {.width = width, .height = height, .rate = to_frame_rate(frames_per_second)}, std::move(stop));
}

std::int64_t VideoWriter::frame_values(std::size_t given) const {
  const std::int64_t values = width_ * height_ * 3;
  ltxmem::expects(given % static_cast<std::size_t>(values) == 0, path_, ": ", given,
                  " values given, not whole frames of ", values);
  ltxmem::expects(sink_ != nullptr, path_, ": frames after the end of the video");
  return values;
}

void VideoWriter::write(std::span<const float> frames) {
  const auto values = static_cast<std::size_t>(frame_values(frames.size()));
  for (; !frames.empty(); frames = frames.subspan(values)) {
    const auto frame = frames.first(values);
    frame_.resize(values);
    std::transform(frame.begin(), frame.end(), frame_.begin(), to_level);
    nan_count_ += std::count_if(frame.begin(), frame.end(), [](float value) { return std::isnan(value); });
    write(std::span<const std::uint8_t>(frame_));
  }
}

void VideoWriter::write(std::span<const std::uint8_t> frames) {
  const auto values = static_cast<std::size_t>(frame_values(frames.size()));
  for (; !frames.empty(); frames = frames.subspan(values)) {
    sink_->write(frames.first(values));
    ++frame_count_;
  }
}

void VideoWriter::set_audio(Audio audio) {
  ltxmem::expects(!audio_, path_, ": sound was given twice");
  ltxmem::expects(audio.channels >= 1 && audio.sample_rate >= 1 &&
                      audio.samples.size() % static_cast<std::size_t>(audio.channels) == 0,
                  path_, ": sound of ", audio.samples.size(), " samples in ", audio.channels, " channels at ",
                  audio.sample_rate, " Hz");
  audio_ = std::move(audio);
}

void VideoWriter::finish() {
  ltxmem::expects(sink_ != nullptr, path_, ": finished twice");
  ltxmem::expects(frame_count_ > 0, path_, ": a video without frames");
  sink_->finish(audio_);
  sink_.reset();
}

}  // namespace ltx2
