// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ltx2 {

/// Sound in memory, one channel after the other, nominal range [-1, 1].
struct Audio {
  std::int64_t sample_rate = 0;
  std::int64_t channels = 0;
  std::vector<float> samples;  ///< [channels, length]

  std::int64_t length() const noexcept {
    return channels == 0 ? 0 : static_cast<std::int64_t>(samples.size()) / channels;
  }
};

/// Reads a WAV file: integer PCM of 16, 24 or 32 bits (value / 2^(bits-1)) or 32-bit float, 1 to 32 channels.
///
/// Memory    the file (at most 1 GiB) and its samples
/// Throws    IoError naming the file and the cause
Audio read_wav(const std::string& path);

/// The bytes of a 16-bit PCM WAV file: sample = floor(32768 x + 0.5), limited to [-32768, 32767]; NaN becomes 0.
/// Reading them back gives x rounded to a multiple of 1 / 32768.
///
/// Throws    IoError when the format cannot hold it: no channel, more than 32, more than 4 GiB; `name_in_errors` says
/// of what
std::vector<std::byte> encode_wav(const Audio& audio, const std::string& name_in_errors);

/// Writes a 16-bit PCM WAV file under a temporary name, then renames it.
void write_wav(const std::string& path, const Audio& audio);

}  // namespace ltx2
