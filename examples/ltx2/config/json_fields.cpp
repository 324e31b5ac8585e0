// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/json_fields.hpp"

#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "ltxmem/io/mapped_file.hpp"

namespace ltx2 {

using ltxmem::IoError;

namespace {

/// A value as messages show it, cut when it is long.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

std::string bounds(std::int64_t low, std::int64_t high) {
  return "an integer from " + std::to_string(low) + " to " + std::to_string(high);
}

bool integer_within(const Json& value, std::int64_t low, std::int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return false;
  }
  return value.get<std::int64_t>() >= low && value.get<std::int64_t>() <= high;
}

bool is_positive(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
}

}  // namespace

Json parse_json_text(std::string_view text, const std::string& source) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    throw IoError(source + ": not valid JSON: " + error.what());
  }
}

Json read_json_file(const std::string& path) {
  const ltxmem::MappedFile file{std::filesystem::path(path)};
  const auto bytes = file.bytes();
  return parse_json_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Fields::Fields(const Json& object, std::string name) : object_(&object), name_(std::move(name)) {
  if (!object.is_object()) throw IoError(name_ + ": found " + shown(object) + ", expected an object");
}

const Json* Fields::find(const char* key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool Fields::has(const char* key) const {
  return find(key) != nullptr;
}

const Json& Fields::at(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) throw IoError(name_ + "." + key + ": missing");
  return *value;
}

Fields Fields::object(const char* key) const {
  return {at(key), name_ + "." + key};
}

std::int64_t Fields::integer(const char* key, std::int64_t low, std::int64_t high) const {
  const Json& value = at(key);
  if (!integer_within(value, low, high)) fail(key, shown(value), bounds(low, high));
  return value.get<std::int64_t>();
}

std::int64_t Fields::integer(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) const {
  return has(key) ? integer(key, low, high) : fallback;
}

std::vector<std::int64_t> Fields::integers(const char* key, std::int64_t low, std::int64_t high,
                                           std::vector<std::int64_t> fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  bool good = value->is_array() && !value->empty() && value->size() <= 64;
  for (const Json& item : *value) good = good && integer_within(item, low, high);
  if (!good) fail(key, shown(*value), "a list of 1 to 64 times " + bounds(low, high));
  return value->get<std::vector<std::int64_t>>();
}

double Fields::positive(const char* key, double fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!is_positive(*value)) fail(key, shown(*value), "a number above zero");
  return value->get<double>();
}

std::vector<double> Fields::positives(const char* key, std::vector<double> fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  bool good = value->is_array() && value->size() == fallback.size();
  for (const Json& item : *value) good = good && is_positive(item);
  if (!good) fail(key, shown(*value), "a list of " + std::to_string(fallback.size()) + " numbers above zero");
  return value->get<std::vector<double>>();
}

bool Fields::boolean(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, shown(*value), "true or false");
  return value->get<bool>();
}

std::string Fields::text(const char* key, const std::string& fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) fail(key, shown(*value), "a text");
  return value->get<std::string>();
}

void Fields::require(const char* key, const Json& supported) const {
  const Json* value = find(key);
  if (value != nullptr && *value != supported) fail(key, shown(*value), shown(supported) + ", the only one supported");
}

void Fields::fail(std::string_view key, std::string_view found, std::string_view expected) const {
  throw IoError(name_ + "." + std::string(key) + ": found " + std::string(found) + ", expected " +
                std::string(expected));
}

void Fields::fail(std::string_view reason) const {
  throw IoError(name_ + ": " + std::string(reason));
}

}  // namespace ltx2
