// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/size.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <system_error>

#include "ltxmem/core/error.hpp"

namespace ltx2 {
namespace {

constexpr std::uint64_t max_bytes = std::numeric_limits<std::int64_t>::max();

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw ltxmem::ShapeError("size '" + std::string(text) + "': " + why);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

/// Takes a plain decimal number (digits and at most one point, no sign, no exponent) off the front.
double take_number(std::string_view text, std::string_view& rest) {
  const std::size_t length = std::min(rest.find_first_not_of("0123456789."), rest.size());
  const std::string_view digits = rest.substr(0, length);
  double value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::fixed);
  if (digits.empty() || result.ec == std::errc::invalid_argument || result.ptr != digits.data() + digits.size()) {
    refuse(text, "does not start with a number");
  }
  if (result.ec == std::errc::result_out_of_range) refuse(text, "too large");
  rest.remove_prefix(length);
  return value;
}

struct Unit {
  std::string_view name;  ///< upper case
  std::uint64_t bytes;
};

constexpr std::uint64_t binary(int power) {
  return std::uint64_t{1} << (10 * power);
}
constexpr std::array<Unit, 14> units{{{"", 1},
                                      {"B", 1},
                                      {"K", binary(1)},
                                      {"M", binary(2)},
                                      {"G", binary(3)},
                                      {"T", binary(4)},
                                      {"KIB", binary(1)},
                                      {"MIB", binary(2)},
                                      {"GIB", binary(3)},
                                      {"TIB", binary(4)},
                                      {"KB", 1000},
                                      {"MB", 1000000},
                                      {"GB", 1000000000},
                                      {"TB", 1000000000000}}};

std::uint64_t unit_bytes(std::string_view text, std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
  for (const Unit& unit : units) {
    if (unit.name == upper) return unit.bytes;
  }
  refuse(text, "unknown unit '" + std::string(name) + "' (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)");
}

}  // namespace

std::uint64_t parse_bytes(std::string_view text) {
  std::string_view rest = trim(text);
  if (rest.starts_with('-')) refuse(text, "must not be negative");
  std::uint64_t whole = 0;
  const auto exact = std::from_chars(rest.data(), rest.data() + rest.size(), whole);
  const bool is_whole = exact.ec == std::errc() && (exact.ptr == rest.data() + rest.size() || *exact.ptr != '.');
  const double number = take_number(text, rest);
  const std::uint64_t unit = unit_bytes(text, trim(rest));
  // Whole numbers stay exact beyond 2^53.
  if (is_whole) {
    if (whole > max_bytes / unit) refuse(text, "too large");
    return whole * unit;
  }
  const double bytes = std::floor(number * static_cast<double>(unit));
  if (bytes >= static_cast<double>(max_bytes)) refuse(text, "too large");
  return static_cast<std::uint64_t>(bytes);
}

SizeOption parse_size(std::string_view text) {
  std::string_view rest = trim(text);
  if (rest.ends_with('%')) {
    rest.remove_suffix(1);
    if (rest.starts_with('-')) refuse(text, "must not be negative");
    const double percent = take_number(text, rest);
    if (!trim(rest).empty()) refuse(text, "is not a percentage");
    if (percent <= 0.0 || percent > 100.0) refuse(text, "must be more than 0% and at most 100%");
    return {.kind = SizeOption::Kind::percent_of_free, .bytes = 0, .percent = percent};
  }
  if (rest.starts_with('-')) {
    rest.remove_prefix(1);
    return {.kind = SizeOption::Kind::all_but_bytes, .bytes = parse_bytes(rest), .percent = 0};
  }
  return {.kind = SizeOption::Kind::bytes, .bytes = parse_bytes(rest), .percent = 0};
}

std::uint64_t SizeOption::resolve(std::uint64_t free_bytes) const {
  switch (kind) {
    case Kind::bytes: return bytes;
    case Kind::percent_of_free: return static_cast<std::uint64_t>(static_cast<double>(free_bytes) * percent / 100.0);
    case Kind::all_but_bytes:
      if (bytes >= free_bytes) {
        throw ltxmem::ShapeError("a budget of all but " + format_bytes(bytes) +
                                 " leaves nothing: " + format_bytes(free_bytes) + " are free");
      }
      return free_bytes - bytes;
  }
  return 0;
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  constexpr std::array<const char*, 6> names{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024.0;
  std::size_t name = 0;
  while (value >= 1023.995 && name + 1 < names.size()) {
    value /= 1024.0;
    ++name;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f %s", value, names[name]);
  return text.data();
}

}  // namespace ltx2
