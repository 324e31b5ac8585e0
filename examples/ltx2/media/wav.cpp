// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/wav.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string_view>

#include "ltxmem/core/error.hpp"
#include "media/files.hpp"

namespace ltx2 {
namespace {

static_assert(std::endian::native == std::endian::little, "WAV files are read and written as they lie in memory");

constexpr std::uint64_t max_file_bytes = std::uint64_t{1} << 30;
constexpr std::int64_t max_channels = 32;
constexpr std::uint16_t format_pcm = 1;
constexpr std::uint16_t format_float = 3;
constexpr std::uint16_t format_extensible = 0xfffe;

/// The fields of a "fmt " chunk that matter here.
struct Format {
  std::uint16_t tag = 0;
  std::uint16_t channels = 0;
  std::uint32_t sample_rate = 0;
  std::uint16_t frame_bytes = 0;
  std::uint16_t sample_bits = 0;
};

template <class Integer>
Integer load(std::span<const std::byte> data, std::size_t offset) {
  Integer value;
  std::memcpy(&value, data.data() + offset, sizeof(value));
  return value;
}

Format parse_format(const std::string& path, std::span<const std::byte> chunk) {
  if (chunk.size() < 16) {
    throw ltxmem::IoError(path + ": damaged WAV: format chunk of " + std::to_string(chunk.size()) + " bytes");
  }
  Format format{.tag = load<std::uint16_t>(chunk, 0),
                .channels = load<std::uint16_t>(chunk, 2),
                .sample_rate = load<std::uint32_t>(chunk, 4),
                .frame_bytes = load<std::uint16_t>(chunk, 12),
                .sample_bits = load<std::uint16_t>(chunk, 14)};
  // The extensible form keeps the actual tag in the first two bytes of its 16-byte identifier.
  if (format.tag == format_extensible && chunk.size() >= 40) format.tag = load<std::uint16_t>(chunk, 24);
  const bool known = (format.tag == format_pcm &&
                      (format.sample_bits == 16 || format.sample_bits == 24 || format.sample_bits == 32)) ||
                     (format.tag == format_float && format.sample_bits == 32);
  if (!known) {
    throw ltxmem::IoError(path + ": WAV format " + std::to_string(format.tag) + " with " +
                          std::to_string(format.sample_bits) +
                          " bits is not supported (16, 24 or 32-bit PCM or 32-bit float)");
  }
  if (format.channels < 1 || format.channels > max_channels) {
    throw ltxmem::IoError(path + ": damaged WAV: " + std::to_string(format.channels) + " channels");
  }
  if (format.sample_rate < 1 || format.sample_rate > 1000000) {
    throw ltxmem::IoError(path + ": damaged WAV: sample rate " + std::to_string(format.sample_rate));
  }
  if (format.frame_bytes != format.channels * format.sample_bits / 8) {
    throw ltxmem::IoError(path + ": damaged WAV: " + std::to_string(format.frame_bytes) + " bytes for " +
                          std::to_string(format.channels) + " channels of " + std::to_string(format.sample_bits) +
                          " bits");
  }
  return format;
}

float sample_at(std::span<const std::byte> data, std::size_t offset, const Format& format) {
  if (format.tag == format_float) return load<float>(data, offset);
  // The sample goes into the top bits of an integer, so that one division serves all widths.
  const std::size_t bytes = format.sample_bits / 8U;
  std::int32_t value = 0;
  std::memcpy(reinterpret_cast<std::byte*>(&value) + (4 - bytes), data.data() + offset, bytes);
  return static_cast<float>(static_cast<double>(value) / 2147483648.0);
}

}  // namespace

Audio read_wav(const std::string& path) {
  const std::vector<std::byte> file = read_file(path, max_file_bytes);
  const std::span<const std::byte> data(file);
  const auto tag_at = [&data](std::size_t offset) {
    return std::string_view(reinterpret_cast<const char*>(data.data()) + offset, 4);
  };
  if (data.size() < 12 || tag_at(0) != "RIFF" || tag_at(8) != "WAVE") {
    throw ltxmem::IoError(path + ": not a WAV file");
  }
  Format format;
  std::size_t offset = 12;
  while (offset + 8 <= data.size()) {
    const std::string_view tag = tag_at(offset);
    const std::size_t size = load<std::uint32_t>(data, offset + 4);
    offset += 8;
    if (size > data.size() - offset) {
      throw ltxmem::IoError(path + ": damaged WAV: a chunk of " + std::to_string(size) + " bytes, " +
                            std::to_string(data.size() - offset) + " are left in the file");
    }
    const std::span<const std::byte> chunk = data.subspan(offset, size);
    if (tag == "fmt ") {
      format = parse_format(path, chunk);
    } else if (tag == "data") {
      if (format.tag == 0) throw ltxmem::IoError(path + ": damaged WAV: samples before the format");
      if (size % format.frame_bytes != 0) {
        throw ltxmem::IoError(path + ": damaged WAV: " + std::to_string(size) +
                              " bytes of samples, not a multiple of " + std::to_string(format.frame_bytes));
      }
      const std::size_t length = size / format.frame_bytes;
      Audio audio{.sample_rate = format.sample_rate, .channels = format.channels, .samples = {}};
      audio.samples.resize(length * format.channels);
      for (std::size_t i = 0; i < length; ++i) {
        for (std::size_t c = 0; c < format.channels; ++c) {
          audio.samples[c * length + i] =
              sample_at(chunk, i * format.frame_bytes + c * (format.sample_bits / 8U), format);
        }
      }
      return audio;
    }
    offset += size + size % 2;  // chunks start at even offsets
  }
  throw ltxmem::IoError(path + ": damaged WAV: no samples");
}

std::vector<std::byte> encode_wav(const Audio& audio, const std::string& name_in_errors) {
  constexpr std::uint64_t header_bytes = 44;
  const std::uint64_t data_bytes = audio.samples.size() * sizeof(std::int16_t);
  if (audio.channels < 1 || audio.channels > max_channels || audio.sample_rate < 1 || audio.sample_rate > 1000000 ||
      audio.samples.size() % static_cast<std::size_t>(audio.channels) != 0) {
    throw ltxmem::IoError(name_in_errors + ": cannot write " + std::to_string(audio.samples.size()) + " samples in " +
                          std::to_string(audio.channels) + " channels at " + std::to_string(audio.sample_rate) +
                          " Hz as WAV");
  }
  if (data_bytes > std::numeric_limits<std::uint32_t>::max() - header_bytes) {
    throw ltxmem::IoError(name_in_errors + ": " + std::to_string(data_bytes) +
                          " bytes of sound, WAV holds less than 4 GiB");
  }
  std::vector<std::byte> file;
  file.reserve(static_cast<std::size_t>(header_bytes + data_bytes));
  const auto append = [&file](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    file.insert(file.end(), bytes.begin(), bytes.end());
  };
  const auto append_tag = [&file](std::string_view tag) {
    const auto bytes = std::as_bytes(std::span(tag));
    file.insert(file.end(), bytes.begin(), bytes.end());
  };
  const auto channels = static_cast<std::uint16_t>(audio.channels);
  const auto frame_bytes = static_cast<std::uint16_t>(audio.channels * 2);
  append_tag("RIFF");
  append(static_cast<std::uint32_t>(header_bytes - 8 + data_bytes));
  append_tag("WAVEfmt ");
  append(std::uint32_t{16});
  append(format_pcm);
  append(channels);
  append(static_cast<std::uint32_t>(audio.sample_rate));
  append(static_cast<std::uint32_t>(audio.sample_rate * frame_bytes));
  append(frame_bytes);
  append(std::uint16_t{16});
  append_tag("data");
  append(static_cast<std::uint32_t>(data_bytes));
  const auto length = static_cast<std::size_t>(audio.length());
  for (std::size_t i = 0; i < length; ++i) {
    for (std::size_t c = 0; c < channels; ++c) {
      const double value = audio.samples[c * length + i];
      const double level = std::isnan(value) ? 0.0 : std::clamp(std::floor(32768.0 * value + 0.5), -32768.0, 32767.0);
      append(static_cast<std::int16_t>(level));
    }
  }
  return file;
}

void write_wav(const std::string& path, const Audio& audio) {
  write_file(path, encode_wav(audio, path));
}

}  // namespace ltx2
