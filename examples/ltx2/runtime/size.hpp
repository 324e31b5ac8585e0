// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// Memory sizes as people write them.

namespace ltx2 {

/// "8GiB", "1.5 GB", "512M", "123456": a non-negative number, then nothing or B (bytes), KiB MiB GiB TiB or K M G T
/// (powers of 1024), KB MB GB TB (powers of 1000); letters in any case. Fractions of a byte are dropped.
///
/// Throws    ShapeError saying what is wrong with the text: no number, unknown unit, negative, more than 2^63 - 1 bytes
std::uint64_t parse_bytes(std::string_view text);

/// A budget: so many bytes, or a share of what is free, or all but so many bytes of it.
struct SizeOption {
  enum class Kind { bytes, percent_of_free, all_but_bytes };

  Kind kind = Kind::bytes;
  std::uint64_t bytes = 0;  ///< of kinds bytes and all_but_bytes
  double percent = 0;       ///< of kind percent_of_free

  /// The size in bytes, when so many are free. ShapeError when all_but_bytes leaves nothing.
  std::uint64_t resolve(std::uint64_t free_bytes) const;
};

/// "80%" (more than 0, at most 100), "-1GiB" (all but), or a size as parse_bytes takes it.
SizeOption parse_size(std::string_view text);

/// "7.50 GiB", "512 B": for messages.
std::string format_bytes(std::uint64_t bytes);

}  // namespace ltx2
