// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/mp4_sink.hpp"

#include <filesystem>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"

namespace ltx2 {
namespace {

Ffmpeg require_ffmpeg(const std::string& path) {
  Ffmpeg ffmpeg = find_ffmpeg_for_mp4();
  if (!ffmpeg.problem.empty()) throw ltxmem::IoError(path + ": " + ffmpeg.problem);
  return ffmpeg;
}

/// Runs an action of a child process and puts the name of the output in front of its errors.
template <class Action>
void naming(const std::string& path, Action&& action) {
  try {
    action();
  } catch (const ltxmem::IoError& error) {
    throw ltxmem::IoError(path + ": " + error.what());
  }
}

std::vector<std::string> encoder_command(const Ffmpeg& ffmpeg, const FrameFormat& format, const std::string& output) {
  const std::string size = std::to_string(format.width) + "x" + std::to_string(format.height);
  const std::string rate = std::to_string(format.rate.numerator) + "/" + std::to_string(format.rate.denominator);
  return ffmpeg.command(
      {"-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-framerate", rate, "-i", "pipe:0", "-vf",
       "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact,"
       "format=yuv420p",
       "-c:v", "libx264", "-preset", "medium", "-crf", "18",
       // x264 repeats itself for equal thread counts, but not across different ones.
       "-threads", "4", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range",
       "tv", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", "-f",
       "mp4", "file:" + output});
}

std::vector<std::string> muxer_command(const Ffmpeg& ffmpeg, const Audio& audio, const std::string& video,
                                       const std::string& output) {
  return ffmpeg.command({"-i",
                         "file:" + video,
                         "-f",
                         "f32le",
                         "-ar",
                         std::to_string(audio.sample_rate),
                         "-ac",
                         std::to_string(audio.channels),
                         "-i",
                         "pipe:0",
                         "-map",
                         "0:v",
                         "-map",
                         "1:a",
                         "-c:v",
                         "copy",
                         "-c:a",
                         "aac",
                         "-b:a",
                         "192k",
                         "-threads",
                         "1",
                         "-map_metadata",
                         "-1",
                         "-fflags",
                         "+bitexact",
                         "-flags:a",
                         "+bitexact",
                         "-movflags",
                         "+faststart",
                         "-f",
                         "mp4",
                         "file:" + output});
}

/// [channels, length] -> [length, channels]
std::vector<float> interleave(const Audio& audio) {
  std::vector<float> samples(audio.samples.size());
  const auto channels = static_cast<std::size_t>(audio.channels);
  const auto length = static_cast<std::size_t>(audio.length());
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t i = 0; i < length; ++i) samples[i * channels + c] = audio.samples[c * length + i];
  }
  return samples;
}

}  // namespace

Ffmpeg find_ffmpeg_for_mp4() {
  return find_ffmpeg({"libx264", "aac"});
}

Mp4Sink::Mp4Sink(const std::string& path, const FrameFormat& format, std::stop_token stop)
    : path_(path), stop_(std::move(stop)), ffmpeg_(require_ffmpeg(path)), video_(path) {
  ltxmem::expects(format.width % 2 == 0 && format.height % 2 == 0, path, ": ", format.width, " x ", format.height,
                  " pixels, MP4 output needs even sizes");
  encoder_.emplace(encoder_command(ffmpeg_, format, video_.path()), stop_);
}

void Mp4Sink::write(std::span<const std::uint8_t> frame) {
  naming(path_, [&] { encoder_->write(std::as_bytes(frame)); });
}

void Mp4Sink::finish(const std::optional<Audio>& audio) {
  naming(path_, [this] { encoder_->finish(); });
  encoder_.reset();
  if (!audio || audio->samples.empty()) {
    video_.commit();
    return;
  }
  TemporaryOutput complete(path_);
  ChildProcess muxer(muxer_command(ffmpeg_, *audio, video_.path(), complete.path()), stop_);
  const std::vector<float> samples = interleave(*audio);
  naming(path_, [&] {
    muxer.write(std::as_bytes(std::span(samples)));
    muxer.finish();
  });
  complete.commit();
}

}  // namespace ltx2
