// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/wav.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::Audio;
using ltx2::read_wav;
using ltx2::write_wav;
using ltx2::test::file_text;
using ltx2::test::message_of;
using ltx2::test::ScratchFolder;
using ltx2::test::write_text;

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>((value >> (8 * i)) & 0xffU));
  return text;
}

std::string chunk(const std::string& tag, const std::string& data) {
  return tag + little_endian(data.size(), 4) + data + std::string(data.size() % 2, '\0');
}

std::string format_chunk(int tag, int channels, int rate, int bits) {
  const int frame = channels * bits / 8;
  return chunk("fmt ", little_endian(static_cast<std::uint64_t>(tag), 2) +
                           little_endian(static_cast<std::uint64_t>(channels), 2) +
                           little_endian(static_cast<std::uint64_t>(rate), 4) +
                           little_endian(static_cast<std::uint64_t>(rate * frame), 4) +
                           little_endian(static_cast<std::uint64_t>(frame), 2) +
                           little_endian(static_cast<std::uint64_t>(bits), 2));
}

std::string riff(const std::string& chunks) {
  return "RIFF" + little_endian(chunks.size() + 4, 4) + "WAVE" + chunks;
}

std::string refusal(const ScratchFolder& folder, const std::string& content) {
  write_text(folder / "a.wav", content);
  return message_of<ltxmem::IoError>([&] { read_wav(folder / "a.wav"); });
}

TEST_CASE("sound that is a multiple of 1/32768 comes back exactly") {
  const ScratchFolder folder;
  const Audio audio{48000, 2, {0.0F, 0.5F, -1.0F, 32767.0F / 32768.0F, -1.0F / 32768.0F, 0.25F}};
  write_wav(folder / "a.wav", audio);
  const Audio read = read_wav(folder / "a.wav");
  CHECK(read.sample_rate == 48000);
  CHECK(read.channels == 2);
  CHECK(read.length() == 3);
  CHECK(read.samples == audio.samples);
}

TEST_CASE("samples are rounded half up and limited to 16 bits") {
  const ScratchFolder folder;
  const float step = 1.0F / 32768.0F;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  write_wav(folder / "a.wav",
            {8000, 1, {0.5F * step, 0.49F * step, -0.5F * step, 2.0F, -2.0F, nan, infinity, -infinity}});
  CHECK(read_wav(folder / "a.wav").samples ==
        std::vector<float>{step, 0, 0, 1.0F - step, -1.0F, 0, 1.0F - step, -1.0F});
}

TEST_CASE("a WAV file has exactly the bytes of the format") {
  const ScratchFolder folder;
  write_wav(folder / "a.wav", {24000, 2, {0.5F, 0.25F}});
  CHECK(file_text(folder / "a.wav") ==
        riff(format_chunk(1, 2, 24000, 16) + chunk("data", little_endian(0x4000, 2) + little_endian(0x2000, 2))));
}

TEST_CASE("channels are interleaved in the file and apart in memory") {
  const ScratchFolder folder;
  write_text(folder / "a.wav", riff(format_chunk(1, 2, 8000, 16) +
                                    chunk("data", little_endian(0x1000, 2) + little_endian(0x2000, 2) +
                                                      little_endian(0x3000, 2) + little_endian(0x4000, 2))));
  CHECK(read_wav(folder / "a.wav").samples == std::vector<float>{0.125F, 0.375F, 0.25F, 0.5F});
}

TEST_CASE("24-bit samples are read with their sign") {
  const ScratchFolder folder;
  write_text(folder / "a.wav",
             riff(format_chunk(1, 1, 8000, 24) +
                  chunk("data", little_endian(0x400000, 3) + little_endian(0x800000, 3) + little_endian(0xffffff, 3))));
  CHECK(read_wav(folder / "a.wav").samples == std::vector<float>{0.5F, -1.0F, -1.0F / 8388608.0F});
}

TEST_CASE("32-bit samples are read with their sign") {
  const ScratchFolder folder;
  write_text(folder / "a.wav", riff(format_chunk(1, 1, 8000, 32) +
                                    chunk("data", little_endian(0x40000000, 4) + little_endian(0x80000000, 4))));
  CHECK(read_wav(folder / "a.wav").samples == std::vector<float>{0.5F, -1.0F});
}

TEST_CASE("float samples are read as they are") {
  const ScratchFolder folder;
  const std::vector<float> samples{0.1F, -3.5F, 1e-9F};
  std::string data(sizeof(float) * samples.size(), '\0');
  std::memcpy(data.data(), samples.data(), data.size());
  write_text(folder / "a.wav", riff(format_chunk(3, 1, 8000, 32) + chunk("data", data)));
  CHECK(read_wav(folder / "a.wav").samples == samples);
}

TEST_CASE("the extensible form and unknown chunks are understood") {
  const ScratchFolder folder;
  std::string format = format_chunk(0xfffe, 1, 8000, 16).substr(8);
  format +=
      little_endian(22, 2) + little_endian(16, 2) + little_endian(4, 4) + little_endian(1, 2) + std::string(14, 'g');
  write_text(folder / "a.wav", riff(chunk("LIST", "odd") + chunk("fmt ", format) + chunk("fact", "1234") +
                                    chunk("data", little_endian(0x4000, 2))));
  CHECK(read_wav(folder / "a.wav").samples == std::vector<float>{0.5F});
}

TEST_CASE("a WAV file without samples in its data is empty, not an error") {
  const ScratchFolder folder;
  write_text(folder / "a.wav", riff(format_chunk(1, 2, 8000, 16) + chunk("data", "")));
  CHECK(read_wav(folder / "a.wav").length() == 0);
}

TEST_CASE("a WAV file cut short anywhere is refused") {
  const ScratchFolder folder;
  const std::string whole = riff(format_chunk(1, 2, 8000, 16) + chunk("data", std::string(16, 'x')));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(refusal(folder, whole.substr(0, length)).starts_with((folder / "a.wav") + ": "));
  }
}

TEST_CASE("WAV files with impossible fields are refused with the reason") {
  const ScratchFolder folder;
  const std::string data = chunk("data", std::string(12, '\0'));
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(contains(refusal(folder, riff(format_chunk(1, 0, 8000, 16) + data)), "0 channels"));
  CHECK(contains(refusal(folder, riff(format_chunk(1, 33, 8000, 16) + data)), "33 channels"));
  CHECK(contains(refusal(folder, riff(format_chunk(1, 2, 0, 16) + data)), "sample rate 0"));
  CHECK(contains(refusal(folder, riff(format_chunk(1, 1, 8000, 8) + data)), "with 8 bits is not supported"));
  CHECK(contains(refusal(folder, riff(format_chunk(2, 1, 8000, 16) + data)), "format 2 with 16 bits"));
  CHECK(contains(refusal(folder, riff(format_chunk(3, 1, 8000, 64) + data)), "format 3 with 64 bits"));
  CHECK(contains(refusal(folder, riff(format_chunk(1, 5, 8000, 16) + data)), "not a multiple of 10"));
  CHECK(contains(refusal(folder, riff(data)), "samples before the format"));
  CHECK(contains(refusal(folder, riff(format_chunk(1, 1, 8000, 16))), "no samples"));
  CHECK(contains(refusal(folder, riff(chunk("fmt ", "short") + data)), "format chunk of 5 bytes"));
  CHECK(contains(refusal(folder, "RIFX" + riff(data).substr(4)), "not a WAV file"));
}

TEST_CASE("a frame size that contradicts channels and bits is refused") {
  const ScratchFolder folder;
  std::string format = format_chunk(1, 2, 8000, 16);
  format[8 + 12] = 0;  // frame_bytes
  CHECK(refusal(folder, riff(format + chunk("data", "1234"))).find("0 bytes for 2 channels of 16 bits") !=
        std::string::npos);
}

TEST_CASE("a chunk that claims 4 GiB is refused") {
  const ScratchFolder folder;
  CHECK(refusal(folder, riff(format_chunk(1, 1, 8000, 16) + "data" + little_endian(0xffffffff, 4) + "1234"))
            .find("a chunk of 4294967295 bytes, 4 are left") != std::string::npos);
}

TEST_CASE("sound that WAV cannot hold is not written") {
  const ScratchFolder folder;
  CHECK_THROWS_AS(write_wav(folder / "a.wav", {8000, 0, {}}), ltxmem::IoError);
  CHECK_THROWS_AS(write_wav(folder / "a.wav", {8000, 33, std::vector<float>(33)}), ltxmem::IoError);
  CHECK_THROWS_AS(write_wav(folder / "a.wav", {0, 1, {0.0F}}), ltxmem::IoError);
  CHECK_THROWS_AS(write_wav(folder / "a.wav", {8000, 2, {0.0F, 0.0F, 0.0F}}), ltxmem::IoError);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("a full disk while writing WAV is an error that leaves nothing") {
  const ScratchFolder folder;
  const ltx2::test::ScopedFileSizeLimit limit(1000);
  const std::string message = message_of<ltxmem::IoError>([&] {
    write_wav(folder / "a.wav", {8000, 1, std::vector<float>(10000)});
  });
  CHECK(message.starts_with((folder / "a.wav") + ": cannot write: "));
  CHECK(folder.entry_count() == 0);
}

}  // namespace
