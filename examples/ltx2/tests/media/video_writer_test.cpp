// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/video_writer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stop_token>
#include <string>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "media/child_process.hpp"
#include "media/image.hpp"
#include "media/mp4_sink.hpp"
#include "media/y4m_sink.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::Audio;
using ltx2::check_output;
using ltx2::VideoWriter;
using ltx2::test::file_text;
using ltx2::test::message_of;
using ltx2::test::ScopedVariable;
using ltx2::test::ScratchFolder;

constexpr std::int64_t width = 32;
constexpr std::int64_t height = 16;

/// Frame number `index`: a brightness ramp that wanders, values in [0, 1].
std::vector<float> frame(int index) {
  std::vector<float> values;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      values.push_back(static_cast<float>((x + index) % width) / 31.0F);
      values.push_back(static_cast<float>(y) / 15.0F);
      values.push_back(0.25F);
    }
  }
  return values;
}

Audio tone(std::int64_t length) {
  Audio audio{24000, 2, std::vector<float>(static_cast<std::size_t>(2 * length))};
  for (std::int64_t i = 0; i < length; ++i) {
    audio.samples[static_cast<std::size_t>(i)] = static_cast<float>(0.3 * std::sin(0.1 * static_cast<double>(i)));
    audio.samples[static_cast<std::size_t>(length + i)] =
        static_cast<float>(0.3 * std::sin(0.05 * static_cast<double>(i)));
  }
  return audio;
}

void write_clip(const std::string& path, int frames, const Audio* audio = nullptr) {
  VideoWriter writer(path, width, height, 25.0);
  for (int i = 0; i < frames; ++i) writer.write(frame(i));
  if (audio != nullptr) writer.set_audio(*audio);
  writer.finish();
}

/// What ffprobe says about the streams of a file, one "name=value" a line.
std::string probe(const std::string& path) {
  ltx2::ChildProcess child(
      {*ltx2::find_program("ffprobe"), "-v", "error", "-count_frames", "-show_entries",
       "stream=codec_name,width,height,pix_fmt,color_range,color_space,r_frame_rate,nb_read_frames,"
       "sample_rate,channels",
       "-of", "default=noprint_wrappers=1", path});
  const auto output = child.finish();
  return {reinterpret_cast<const char*>(output.data()), output.size()};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("levels are 255 x rounded half up and limited") {
  CHECK(ltx2::to_level(0.0F) == 0);
  CHECK(ltx2::to_level(1.0F) == 255);
  CHECK(ltx2::to_level(0.5F) == 128);
  CHECK(ltx2::to_level(0.4999F / 255.0F) == 0);
  CHECK(ltx2::to_level(0.5001F / 255.0F) == 1);
  CHECK(ltx2::to_level(-3.0F) == 0);
  CHECK(ltx2::to_level(7.0F) == 255);
  CHECK(ltx2::to_level(std::numeric_limits<float>::infinity()) == 255);
  CHECK(ltx2::to_level(std::numeric_limits<float>::quiet_NaN()) == 0);
}

TEST_CASE("every level comes back from its value") {
  for (int level = 0; level < 256; ++level) CHECK(int{ltx2::to_level(static_cast<float>(level) / 255.0F)} == level);
}

TEST_CASE("frame rates become fractions") {
  const auto fraction = [](double rate) {
    const ltx2::FrameRate result = ltx2::to_frame_rate(rate);
    return std::to_string(result.numerator) + "/" + std::to_string(result.denominator);
  };
  CHECK(fraction(24) == "24/1");
  CHECK(fraction(25) == "25/1");
  CHECK(fraction(23.976) == "24000/1001");
  CHECK(fraction(29.97) == "30000/1001");
  CHECK(fraction(59.94) == "60000/1001");
  CHECK(fraction(12.5) == "25/2");
  CHECK(fraction(24.5) == "49/2");
  CHECK(fraction(0.04) == "1/25");
}

TEST_CASE("impossible frame rates are refused") {
  for (const double rate : {0.0, -24.0, 1e6, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_AS(ltx2::to_frame_rate(rate), ltxmem::ShapeError);
  }
}

TEST_CASE("BT.709 limited range has its known corners") {
  using Levels = std::array<std::uint8_t, 3>;
  CHECK(ltx2::rgb_to_ycbcr(0, 0, 0) == Levels{16, 128, 128});
  CHECK(ltx2::rgb_to_ycbcr(255, 255, 255) == Levels{235, 128, 128});
  CHECK(ltx2::rgb_to_ycbcr(128, 128, 128) == Levels{126, 128, 128});
  CHECK(ltx2::rgb_to_ycbcr(255, 0, 0) == Levels{63, 102, 240});
  CHECK(ltx2::rgb_to_ycbcr(0, 255, 0) == Levels{173, 42, 26});
  CHECK(ltx2::rgb_to_ycbcr(0, 0, 255) == Levels{32, 240, 118});
}

TEST_CASE("a Y4M file is a header and planes") {
  const ScratchFolder folder;
  VideoWriter writer(folder / "a.y4m", 2, 1, 24.0);
  writer.write(std::vector<std::uint8_t>{255, 255, 255, 255, 0, 0});
  writer.finish();
  const std::string expected = std::string("YUV4MPEG2 W2 H1 F24:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\nFRAME\n") +
                               "\xeb\x3f" + "\x80\x66" + "\x80\xf0";
  CHECK(file_text(folder / "a.y4m") == expected);
  CHECK(folder.entry_count() == 1);
}

TEST_CASE("a Y4M file has its sound beside it") {
  const ScratchFolder folder;
  const Audio audio = tone(100);
  write_clip(folder / "a.y4m", 3, &audio);
  CHECK(folder.entry_count() == 2);
  CHECK(ltx2::read_wav(folder / "a.wav").length() == 100);
  CHECK(std::filesystem::file_size(folder / "a.y4m") == 57 + 3 * (6 + width * height * 3));
}

TEST_CASE("ffmpeg reads the Y4M file back to nearly the same colours") {
  const ScratchFolder folder;
  VideoWriter writer(folder / "a.y4m", 64, 64, 25.0);
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 64 * 64; ++i) {
    for (const int value : {i % 256, (i * 7) % 256, i / 16}) pixels.push_back(static_cast<std::uint8_t>(value));
  }
  writer.write(pixels);
  writer.finish();
  ltx2::ChildProcess child({*ltx2::find_program("ffmpeg"), "-v", "error", "-i", folder / "a.y4m", "-vf",
                            "scale=in_color_matrix=bt709:flags=accurate_rnd+full_chroma_int", "-f", "rawvideo",
                            "-pix_fmt", "rgb24", "pipe:1"});
  const auto decoded = child.finish();
  REQUIRE(decoded.size() == pixels.size());
  int worst = 0;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    worst = std::max(worst, std::abs(std::to_integer<int>(decoded[i]) - int{pixels[i]}));
  }
  CHECK(worst <= 3);  // half a level of each of Y, Cb and Cr is up to 1.1 levels of blue, then the decoder's rounding
}

TEST_CASE("a folder of pictures holds every frame and the sound") {
  const ScratchFolder folder;
  const Audio audio = tone(100);
  write_clip(folder / "frames/", 3, &audio);
  CHECK(folder.entry_count() == 1);
  for (int i = 0; i < 3; ++i) {
    const ltx2::Image image = ltx2::load_image(folder / ("frames/frame_0000" + std::to_string(i) + ".png"));
    const std::vector<float> values = frame(i);
    bool equal = image.width == width && image.height == height && image.pixels.size() == values.size();
    for (std::size_t j = 0; equal && j < values.size(); ++j) equal = image.pixels[j] == ltx2::to_level(values[j]);
    CHECK(equal);
  }
  CHECK(ltx2::read_wav(folder / "frames/audio.wav").sample_rate == 24000);
}

TEST_CASE("an MP4 file has the frames, the size, the rate and the sound") {
  const ScratchFolder folder;
  const Audio audio = tone(12000);
  write_clip(folder / "a.mp4", 12, &audio);
  CHECK(folder.entry_count() == 1);
  const std::string streams = probe(folder / "a.mp4");
  INFO(streams);
  CHECK(contains(streams, "codec_name=h264"));
  CHECK(contains(streams, "width=32"));
  CHECK(contains(streams, "height=16"));
  CHECK(contains(streams, "pix_fmt=yuv420p"));
  CHECK(contains(streams, "color_range=tv"));
  CHECK(contains(streams, "color_space=bt709"));
  CHECK(contains(streams, "r_frame_rate=25/1"));
  CHECK(contains(streams, "nb_read_frames=12"));
  CHECK(contains(streams, "codec_name=aac"));
  CHECK(contains(streams, "sample_rate=24000"));
  CHECK(contains(streams, "channels=2"));
}

TEST_CASE("an MP4 file without sound has only video") {
  const ScratchFolder folder;
  write_clip(folder / "a.mp4", 1);
  const std::string streams = probe(folder / "a.mp4");
  CHECK(contains(streams, "nb_read_frames=1"));
  CHECK_FALSE(contains(streams, "aac"));
}

TEST_CASE("the colours of an MP4 file are those of the frames") {
  const ScratchFolder folder;
  VideoWriter writer(folder / "a.mp4", 64, 64, 25.0);
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 64 * 64; ++i) pixels.insert(pixels.end(), {200, 60, 30});
  for (int i = 0; i < 3; ++i) writer.write(pixels);
  writer.finish();
  ltx2::ChildProcess child({*ltx2::find_program("ffmpeg"), "-v", "error", "-i", folder / "a.mp4", "-frames:v", "1",
                            "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"});
  const auto decoded = child.finish();
  REQUIRE(decoded.size() == pixels.size());
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(std::abs(std::to_integer<int>(decoded[64 * 32 * 3 + c]) - int{pixels[c]}) <= 4);
  }
}

TEST_CASE("the same frames and sound give the same MP4 bytes") {
  const ScratchFolder folder;
  const Audio audio = tone(24000);
  write_clip(folder / "a.mp4", 30, &audio);
  write_clip(folder / "other name.mp4", 30, &audio);
  CHECK(file_text(folder / "a.mp4") == file_text(folder / "other name.mp4"));
}

TEST_CASE("an MP4 file does not say which version of ffmpeg made it") {
  const ScratchFolder folder;
  const Audio audio = tone(2400);
  write_clip(folder / "sound.mp4", 2, &audio);
  write_clip(folder / "silent.mp4", 2);
  for (const std::string name : {"sound.mp4", "silent.mp4"}) {
    const std::string bytes = file_text(folder / name);
    CHECK_FALSE(contains(bytes, "Lavf"));
    // The name of the encoder stays, "Lavc libx264"; its version would follow directly.
    for (char digit = '0'; digit <= '9'; ++digit) CHECK_FALSE(contains(bytes, std::string("Lavc") + digit));
  }
}

TEST_CASE("the channels of the sound stay apart in an MP4 file") {
  const ScratchFolder folder;
  Audio audio = tone(12000);
  std::fill(audio.samples.begin(), audio.samples.begin() + 12000, 0.0F);
  write_clip(folder / "a.mp4", 12, &audio);
  ltx2::ChildProcess child(
      {*ltx2::find_program("ffmpeg"), "-v", "error", "-i", folder / "a.mp4", "-f", "f32le", "pipe:1"});
  const auto bytes = child.finish();
  std::vector<float> decoded(bytes.size() / sizeof(float));
  std::memcpy(decoded.data(), bytes.data(), decoded.size() * sizeof(float));
  REQUIRE(decoded.size() >= 24000);
  double left = 0;
  double right = 0;
  for (std::size_t i = 2048; i < 20000; i += 2) {
    left = std::max(left, std::abs(static_cast<double>(decoded[i])));
    right = std::max(right, std::abs(static_cast<double>(decoded[i + 1])));
  }
  CHECK(left < 0.01);
  CHECK(right == Approx(0.3).margin(0.03));
}

TEST_CASE("sound may be given before the frames") {
  const ScratchFolder folder;
  const Audio audio = tone(12000);
  write_clip(folder / "after.mp4", 5, &audio);
  VideoWriter writer(folder / "before.mp4", width, height, 25.0);
  writer.set_audio(audio);
  for (int i = 0; i < 5; ++i) writer.write(frame(i));
  writer.finish();
  CHECK(file_text(folder / "after.mp4") == file_text(folder / "before.mp4"));
}

TEST_CASE("several frames at once are the same as one after the other") {
  const ScratchFolder folder;
  write_clip(folder / "single.y4m", 3);
  std::vector<float> all;
  for (int i = 0; i < 3; ++i) {
    const std::vector<float> one = frame(i);
    all.insert(all.end(), one.begin(), one.end());
  }
  VideoWriter writer(folder / "together.y4m", width, height, 25.0);
  writer.write(all);
  CHECK(writer.frame_count() == 3);
  writer.finish();
  CHECK(file_text(folder / "single.y4m") == file_text(folder / "together.y4m"));
}

TEST_CASE("names with spaces, colons, percent signs and leading dashes are just names") {
  const ScratchFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const Audio audio = tone(2400);
  for (const std::string name : {"a b:c.mp4", "-y.mp4", "100%d.mp4", "http:x.mp4"}) {
    check_output(name);
    write_clip(name, 2, &audio);
    CHECK(std::filesystem::exists(name));
  }
  std::filesystem::current_path(before);
  CHECK(folder.entry_count() == 4);
}

TEST_CASE("a writer dropped before its end leaves nothing, whatever the kind") {
  const ScratchFolder folder;
  for (const std::string name : {"a.mp4", "a.y4m", "a/"}) {
    {
      VideoWriter writer(folder / name, width, height, 25.0);
      writer.write(frame(0));
      writer.set_audio(tone(100));
    }
    CHECK(folder.entry_count() == 0);
  }
}

TEST_CASE("an existing file stays until the new one is complete") {
  const ScratchFolder folder;
  ltx2::test::write_text(folder / "a.y4m", "old");
  VideoWriter writer(folder / "a.y4m", width, height, 25.0);
  writer.write(frame(0));
  CHECK(file_text(folder / "a.y4m") == "old");
  writer.finish();
  CHECK(file_text(folder / "a.y4m") != "old");
}

TEST_CASE("NaN values are black and counted") {
  const ScratchFolder folder;
  VideoWriter writer(folder / "a/", width, height, 25.0);
  std::vector<float> values = frame(0);
  values[0] = values[5] = std::numeric_limits<float>::quiet_NaN();
  writer.write(values);
  CHECK(writer.nan_count() == 2);
  writer.finish();
  CHECK(ltx2::load_image(folder / "a/frame_00000.png").pixels[5] == 0);
}

TEST_CASE("a video needs whole frames, at least one, and one end") {
  const ScratchFolder folder;
  VideoWriter writer(folder / "a.y4m", width, height, 25.0);
  CHECK_THROWS_AS(writer.write(std::vector<float>(100)), ltxmem::ShapeError);
  CHECK_THROWS_AS(writer.finish(), ltxmem::ShapeError);
  writer.write(frame(0));
  writer.set_audio(tone(10));
  CHECK_THROWS_AS(writer.set_audio(tone(10)), ltxmem::ShapeError);
  writer.finish();
  CHECK_THROWS_AS(writer.write(frame(1)), ltxmem::ShapeError);
  CHECK_THROWS_AS(writer.finish(), ltxmem::ShapeError);
}

TEST_CASE("sizes that cannot be written are refused at once") {
  const ScratchFolder folder;
  CHECK_THROWS_AS(VideoWriter(folder / "a.mp4", 33, 16, 25.0), ltxmem::ShapeError);
  CHECK_THROWS_AS(VideoWriter(folder / "a.y4m", 0, 16, 25.0), ltxmem::ShapeError);
  CHECK_THROWS_AS(VideoWriter(folder / "a.y4m", 32, 100000, 25.0), ltxmem::ShapeError);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("a full disk during Y4M and PNG output is an error that leaves nothing") {
  const ScratchFolder folder;
  for (const std::string name : {"a.y4m", "a/"}) {
    const ltx2::test::ScopedFileSizeLimit limit(100);
    const std::string message = message_of<ltxmem::IoError>([&] { write_clip(folder / name, 20); });
    CHECK(contains(message, "cannot write: File too large"));
    CHECK(folder.entry_count() == 0);
  }
}

TEST_CASE("a full disk during MP4 output is an error with ffmpeg's words that leaves nothing") {
  const ScratchFolder folder;
  const Audio audio = tone(48000);
  for (const rlim_t limit_bytes : {0U, 300U, 2000U, 4000U}) {
    CAPTURE(limit_bytes);
    const ltx2::test::ScopedFileSizeLimit limit(limit_bytes);
    const std::string message = message_of<ltxmem::IoError>([&] { write_clip(folder / "a.mp4", 50, &audio); });
    CHECK(message.starts_with((folder / "a.mp4") + ": ffmpeg "));
    CHECK(contains(message, "File too large"));
    CHECK(folder.entry_count() == 0);
  }
}

TEST_CASE("an ffmpeg that dies in the middle is an error with its last words that leaves nothing") {
  const ScratchFolder folder;
  const ScratchFolder programs;
  ltx2::test::write_program(
      programs / "ffmpeg",
      "case \"$*\" in *-encoders*) echo ' V....D libx264 x'; echo ' A....D aac x'; exit 0;; esac\n"
      "head -c 3000 > /dev/null; echo out of luck >&2; kill -9 $$");
  const ScopedVariable path("PATH", programs.path() + ":/usr/bin:/bin");
  const std::string message = message_of<ltxmem::IoError>([&] { write_clip(folder / "a.mp4", 2000); });
  CHECK(message.starts_with((folder / "a.mp4") + ": ffmpeg was ended by signal 9"));
  CHECK(contains(message, "out of luck"));
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("a failing second ffmpeg run leaves nothing either") {
  const ScratchFolder folder;
  const ScratchFolder programs;
  ltx2::test::write_program(
      programs / "ffmpeg",
      "case \"$*\" in *-c:a*) echo no sound today >&2; exit 5;; esac\nexec /usr/bin/ffmpeg \"$@\"");
  const ScopedVariable path("PATH", programs.path() + ":/usr/bin:/bin");
  const Audio audio = tone(1000);
  const std::string message = message_of<ltxmem::IoError>([&] { write_clip(folder / "a.mp4", 2, &audio); });
  CHECK(contains(message, "no sound today"));
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("a stop request ends a video that ffmpeg does not take, and leaves nothing") {
  const ScratchFolder folder;
  const ScratchFolder programs;
  ltx2::test::write_program(
      programs / "ffmpeg",
      "case \"$*\" in *-encoders*) echo ' V....D libx264 x'; echo ' A....D aac x'; exit 0;; esac\n"
      "exec sleep 60");
  const ScopedVariable path("PATH", programs.path() + ":/usr/bin:/bin");
  std::stop_source stop;
  {
    VideoWriter writer(folder / "a.mp4", width, height, 25.0, stop.get_token());
    writer.write(frame(0));
    stop.request_stop();
    CHECK_THROWS_AS(writer.finish(), ltxmem::Cancelled);
  }
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("good outputs pass the check and nothing is left of it") {
  const ScratchFolder folder;
  for (const std::string name : {"a.mp4", "a.y4m", "a/"}) CHECK_NOTHROW(check_output(folder / name));
  std::filesystem::create_directory(folder / "empty");
  CHECK_NOTHROW(check_output(folder / "empty/"));
  CHECK(folder.entry_count() == 1);
}

TEST_CASE("outputs of unknown kind are refused with the known ones") {
  for (const std::string name : {"a.avi", "a", "a.MP4.txt", ""}) {
    CHECK(contains(message_of<ltxmem::IoError>([&] { check_output(name); }), ".mp4, .y4m or /"));
  }
}

TEST_CASE("an output in a folder that does not exist is refused") {
  const ScratchFolder folder;
  for (const std::string name : {"none/a.mp4", "none/a.y4m", "none/a/"}) {
    CHECK(message_of<ltxmem::IoError>([&] { check_output(folder / name); }) ==
          (folder / name) + ": there is no folder " + (folder / "none"));
  }
}

TEST_CASE("an output below a file is refused") {
  const ScratchFolder folder;
  ltx2::test::write_text(folder / "file", "");
  CHECK_THROWS_AS(check_output(folder / "file/a.y4m"), ltxmem::IoError);
  CHECK(message_of<ltxmem::IoError>([&] { check_output(folder / "file/"); }) ==
        (folder / "file/") + ": exists and is not a folder");
}

TEST_CASE("an output in a folder that cannot be written is refused") {
  // Nobody can create files here, not even root.
  CHECK(contains(message_of<ltxmem::IoError>([] { check_output("/proc/a.y4m"); }),
                 "/proc/a.y4m: cannot create a file in its folder: "));
}

TEST_CASE("a folder in the way of an output is refused") {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "a.mp4");
  std::filesystem::create_directory(folder / "b.wav");
  CHECK(contains(message_of<ltxmem::IoError>([&] { check_output(folder / "a.mp4"); }), "is a folder"));
  CHECK(contains(message_of<ltxmem::IoError>([&] { check_output(folder / "b.y4m"); }), "b.wav: is a folder"));
}

TEST_CASE("a folder of pictures must be new or empty") {
  const ScratchFolder folder;
  ltx2::test::write_text(folder / "file", "");
  CHECK(contains(message_of<ltxmem::IoError>([&] { check_output(folder.path() + "/"); }), "is not empty"));
}

TEST_CASE("without ffmpeg MP4 is refused with the alternatives, the other kinds work") {
  const ScratchFolder folder;
  const ScopedVariable path("PATH", "");
  CHECK(message_of<ltxmem::IoError>([&] { check_output(folder / "a.mp4"); }) ==
        (folder / "a.mp4") + ": no ffmpeg found in PATH; install ffmpeg, or choose a name that ends with .y4m or /");
  CHECK_NOTHROW(check_output(folder / "a.y4m"));
  write_clip(folder / "a.y4m", 1);
  write_clip(folder / "a/", 1);
  CHECK_THROWS_AS(write_clip(folder / "a.mp4", 1), ltxmem::IoError);
  CHECK(folder.entry_count() == 2);
}

TEST_CASE("an ffmpeg without the sound encoder, and one that does not run, are refused") {
  const ScratchFolder folder;
  ltx2::test::write_program(folder / "ffmpeg", "echo ' V....D libx264 H.264'");
  const ScopedVariable path("PATH", folder.path());
  CHECK(contains(message_of<ltxmem::IoError>([&] { check_output(folder / "a.mp4"); }), "has no encoder aac"));
  ltx2::test::write_program(folder / "ffmpeg", "echo lib missing >&2; exit 127");
  CHECK(contains(message_of<ltxmem::IoError>([&] { check_output(folder / "a.mp4"); }), "lib missing"));
}

}  // namespace
