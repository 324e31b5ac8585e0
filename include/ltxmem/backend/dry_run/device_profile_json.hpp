// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/io/json.hpp"

/// Device profiles as JSON: one flat object with every member of DeviceProfile under its own name and nothing else.

namespace ltxmem {

namespace detail {

struct ProfileNumber {
  std::string_view key;
  double DeviceProfile::*member;
  double least;     ///< allowed; rates and fractions must be above it
  bool open;        ///< least itself is refused
  double greatest;  ///< allowed
};

inline const std::array<ProfileNumber, 18>& profile_numbers() {
  constexpr double most = 1e30;
  static const std::array<ProfileNumber, 18> numbers{{
      {"f32_flops_per_s", &DeviceProfile::f32_flops_per_s, 0, true, most},
      {"bf16_flops_per_s", &DeviceProfile::bf16_flops_per_s, 0, true, most},
      {"f16_flops_per_s", &DeviceProfile::f16_flops_per_s, 0, true, most},
      {"f8_flops_per_s", &DeviceProfile::f8_flops_per_s, 0, true, most},
      {"f32_attention_flops_per_s", &DeviceProfile::f32_attention_flops_per_s, 0, true, most},
      {"bf16_attention_flops_per_s", &DeviceProfile::bf16_attention_flops_per_s, 0, true, most},
      {"f16_attention_flops_per_s", &DeviceProfile::f16_attention_flops_per_s, 0, true, most},
      {"vector_flops_per_s", &DeviceProfile::vector_flops_per_s, 0, true, most},
      {"memory_bytes_per_s", &DeviceProfile::memory_bytes_per_s, 0, true, most},
      {"link_in_bytes_per_s", &DeviceProfile::link_in_bytes_per_s, 0, true, most},
      {"link_out_bytes_per_s", &DeviceProfile::link_out_bytes_per_s, 0, true, most},
      {"network_bytes_per_s", &DeviceProfile::network_bytes_per_s, 0, true, most},
      {"disk_bytes_per_s", &DeviceProfile::disk_bytes_per_s, 0, true, most},
      {"operation_latency_s", &DeviceProfile::operation_latency_s, 0, false, 1},
      {"transfer_latency_s", &DeviceProfile::transfer_latency_s, 0, false, 1},
      {"matrix_fraction", &DeviceProfile::matrix_fraction, 0, true, 1},
      {"memory_fraction", &DeviceProfile::memory_fraction, 0, true, 1},
      {"link_fraction", &DeviceProfile::link_fraction, 0, true, 1},
  }};
  return numbers;
}

inline std::string json_number(double number) {
  std::array<char, 32> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), end};
}

inline std::string json_shown(const JsonValue& value) {
  if (const auto* number = value.get_if<std::int64_t>()) return std::to_string(*number);
  if (const auto* number = value.get_if<double>()) return json_number(*number);
  if (const auto* text = value.get_if<std::string>()) return "the string '" + *text + "'";
  if (value.get_if<bool>() != nullptr) return "a truth value";
  if (value.get_if<JsonValue::Array>() != nullptr) return "a list";
  return value.get_if<JsonValue::Object>() != nullptr ? "an object" : "null";
}

}  // namespace detail

/// Reads a profile. IoError names the source, the field, what was found and what was expected.
inline DeviceProfile parse_device_profile(std::string_view text, std::string_view source) {
  const JsonValue root = parse_json(text, source);
  const auto* object = root.get_if<JsonValue::Object>();
  expects<IoError>(object != nullptr, source, ": device profile is ", detail::json_shown(root), ", expected an object");

  std::vector<std::string_view> known{"name", "source", "memory_bytes"};
  for (const detail::ProfileNumber& number : detail::profile_numbers()) known.push_back(number.key);
  for (const auto& [key, value] : *object) {
    expects<IoError>(std::find(known.begin(), known.end(), key) != known.end(), source, ": device profile: field '",
                     key, "' is unknown");
  }
  const auto field = [&](std::string_view key) -> const JsonValue& {
    for (const auto& [name, value] : *object) {
      if (name == key) return value;
    }
    throw IoError(std::string(source) + ": device profile: field '" + std::string(key) + "' is missing");
  };
  const auto refuse = [&](std::string_view key, const std::string& expected) {
    throw IoError(std::string(source) + ": device profile: field '" + std::string(key) + "' is " +
                  detail::json_shown(field(key)) + ", expected " + expected);
  };

  DeviceProfile profile;
  for (const auto& [key, member] : {std::pair{"name", &DeviceProfile::name}, {"source", &DeviceProfile::source}}) {
    const auto* value = field(key).get_if<std::string>();
    if (value == nullptr || value->empty()) refuse(key, "a string that is not empty");
    profile.*member = *value;
  }
  const auto* memory = field("memory_bytes").get_if<std::int64_t>();
  if (memory == nullptr || *memory <= 0) refuse("memory_bytes", "a whole number of bytes above 0");
  profile.memory_bytes = *memory;

  for (const detail::ProfileNumber& number : detail::profile_numbers()) {
    const JsonValue& value = field(number.key);
    double found = std::nan("");
    if (const auto* whole = value.get_if<std::int64_t>()) found = static_cast<double>(*whole);
    if (const auto* real = value.get_if<double>()) found = *real;
    if (!(found >= number.least && found <= number.greatest) || (number.open && found == number.least)) {
      refuse(number.key, "a number " + std::string(number.open ? "above " : "from ") + "0" +
                             (number.greatest > 1 ? "" : " up to 1"));
    }
    profile.*number.member = found;
  }
  return profile;
}

/// The same profile as text; reading it back gives equal numbers.
inline std::string device_profile_json(const DeviceProfile& profile) {
  std::string out = "{\n \"name\": ";
  append_json_string(out, profile.name);
  out += ",\n \"source\": ";
  append_json_string(out, profile.source);
  out += ",\n \"memory_bytes\": " + std::to_string(profile.memory_bytes);
  for (const detail::ProfileNumber& number : detail::profile_numbers()) {
    out += ",\n \"" + std::string(number.key) + "\": " + detail::json_number(profile.*number.member);
  }
  return out + "\n}\n";
}

}  // namespace ltxmem
