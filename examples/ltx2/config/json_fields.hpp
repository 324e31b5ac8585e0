// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ltx2 {

/// Keeps the order of keys, so that a configuration can be written back as it was.
using Json = nlohmann::ordered_json;

/// Parses a text; IoError "<source>: ..." when it is not JSON.
Json parse_json_text(std::string_view text, const std::string& source);

/// Reads a whole text file and parses it; IoError.
Json read_json_file(const std::string& path);

/// A JSON object being read, with the name that messages give it ("ltx.safetensors: config.transformer"). A key whose
/// value is null counts as missing. Every reader throws IoError naming the key, what was found and what was expected.
class Fields {
 public:
  /// IoError unless the value is an object; keeps a reference to it.
  Fields(const Json& object, std::string name);

  const std::string& name() const noexcept { return name_; }
  const Json& json() const noexcept { return *object_; }

  bool has(const char* key) const;
  Fields object(const char* key) const;

  /// The value of a key, IoError when missing.
  const Json& at(const char* key) const;

  /// An integer between two bounds; the variants with a fallback return it when the key is missing.
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const;
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) const;
  std::vector<std::int64_t> integers(const char* key, std::int64_t low, std::int64_t high,
                                     std::vector<std::int64_t> fallback) const;

  /// A finite number above zero.
  double positive(const char* key, double fallback) const;
  std::vector<double> positives(const char* key, std::vector<double> fallback) const;

  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;

  /// IoError when the key is present with another value than the only one that is supported.
  void require(const char* key, const Json& supported) const;

  [[noreturn]] void fail(std::string_view key, std::string_view found, std::string_view expected) const;
  [[noreturn]] void fail(std::string_view reason) const;

 private:
  const Json* find(const char* key) const;

  const Json* object_;
  std::string name_;
};

}  // namespace ltx2
