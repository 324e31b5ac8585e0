// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/dry_run/device_profile.hpp"

#include <string>

#include "ltxmem/backend/dry_run/device_profile_json.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace ltxmem {
namespace {

std::string valid() {
  return device_profile_json(*find_device_profile("rtx4090"));
}

/// The valid text with the value of a field replaced.
std::string with(const std::string& field, const std::string& value) {
  std::string text = valid();
  const std::size_t begin = text.find("\"" + field + "\": ") + field.size() + 4;
  return text.replace(begin, text.find_first_of(",\n", begin) - begin, value);
}

std::string refusal(const std::string& text) {
  return test::error_message<IoError>([&] { parse_device_profile(text, "mine.json"); });
}

}  // namespace

TEST_CASE("device profile: the built-in ones have every figure and say where it comes from") {
  for (const char* name : {"rtx3060", "rtx3090", "rtx4070", "rtx4090", "rtx5090", "a100", "h100", "a6000", "cpu"}) {
    CAPTURE(name);
    const DeviceProfile* profile = find_device_profile(name);
    REQUIRE(profile != nullptr);
    CHECK(profile->name == name);
    CHECK_FALSE(profile->source.empty());
    CHECK_NOTHROW(parse_device_profile(device_profile_json(*profile), name));
    CHECK(profile->bf16_flops_per_s >= profile->f32_flops_per_s);
    CHECK(profile->f8_flops_per_s >= profile->bf16_flops_per_s);
    CHECK(profile->f32_attention_flops_per_s == profile->f32_flops_per_s);
    CHECK(profile->bf16_attention_flops_per_s == profile->bf16_flops_per_s);
    CHECK(profile->f16_attention_flops_per_s == profile->f16_flops_per_s);
  }
  CHECK(find_device_profile("rtx9999") == nullptr);
  CHECK(find_device_profile("rtx3060")->memory_bytes == std::int64_t{12} << 30);
}

TEST_CASE("device profile: fractions lower the peaks they name") {
  DeviceProfile profile = *find_device_profile("a100");
  profile.matrix_fraction = 0.5;
  profile.memory_fraction = 0.25;
  profile.link_fraction = 0.1;
  CHECK(profile.flops_per_s(Arithmetic::bf16) == 312e12 * 0.5);
  CHECK(profile.flops_per_s(Arithmetic::f32) == 19.5e12 * 0.5);
  CHECK(profile.bytes_per_s(WorkQueue::compute) == 2039e9 * 0.25);
  CHECK(profile.bytes_per_s(WorkQueue::copy_out) == profile.link_out_bytes_per_s * 0.1);
  CHECK(profile.bytes_per_s(WorkQueue::disk) == profile.disk_bytes_per_s);
}

TEST_CASE("device profile: written and read again it has the same numbers") {
  DeviceProfile profile = *find_device_profile("cpu");
  profile.name = "my \"machine\"";
  profile.f32_flops_per_s = 1.0 / 3.0 * 1e11;
  profile.link_fraction = 0.1;
  const std::string text = device_profile_json(profile);
  const DeviceProfile again = parse_device_profile(text, "mine.json");
  CHECK(again.name == profile.name);
  CHECK(again.source == profile.source);
  CHECK(again.memory_bytes == profile.memory_bytes);
  CHECK(again.f32_flops_per_s == profile.f32_flops_per_s);
  CHECK(again.link_fraction == profile.link_fraction);
  CHECK(device_profile_json(again) == text);
}

TEST_CASE("device profile: a missing or unknown field is named") {
  for (const char* field : {"disk_bytes_per_s", "f32_attention_flops_per_s", "bf16_attention_flops_per_s"}) {
    std::string text = valid();
    const std::size_t at = text.find(" \"" + std::string(field) + "\"");
    text.erase(at, text.find('\n', at) + 1 - at);
    CHECK(refusal(text) == "mine.json: device profile: field '" + std::string(field) + "' is missing");
  }
  std::string text = valid();
  text.insert(1, "\"wings\": 2,");
  CHECK(refusal(text) == "mine.json: device profile: field 'wings' is unknown");
}

TEST_CASE("device profile: a value that makes no sense is refused with field, found and expected") {
  CHECK(refusal(with("f32_flops_per_s", "-1")) ==
        "mine.json: device profile: field 'f32_flops_per_s' is -1, expected a number above 0");
  CHECK(refusal(with("disk_bytes_per_s", "0")) ==
        "mine.json: device profile: field 'disk_bytes_per_s' is 0, expected a number above 0");
  CHECK(refusal(with("operation_latency_s", "-0.5")) ==
        "mine.json: device profile: field 'operation_latency_s' is -0.5, expected a number from 0 up to 1");
  CHECK(refusal(with("link_fraction", "1.5")) ==
        "mine.json: device profile: field 'link_fraction' is 1.5, expected a number above 0 up to 1");
  CHECK(refusal(with("memory_bytes", "1.5")) ==
        "mine.json: device profile: field 'memory_bytes' is 1.5, expected a whole number of bytes above 0");
  CHECK(refusal(with("memory_bytes", "\"8GiB\"")) ==
        "mine.json: device profile: field 'memory_bytes' is the string '8GiB', expected a whole number of bytes above "
        "0");
  CHECK(refusal(with("name", "null")) ==
        "mine.json: device profile: field 'name' is null, expected a string that is not empty");
  CHECK(refusal(with("bf16_flops_per_s", "[1]")) ==
        "mine.json: device profile: field 'bf16_flops_per_s' is a list, expected a number above 0");
  CHECK_NOTHROW(parse_device_profile(with("operation_latency_s", "0"), "mine.json"));
}

TEST_CASE("device profile: NaN, infinity, cut text and other values are no profile") {
  CHECK_THROWS_AS(parse_device_profile(with("f32_flops_per_s", "NaN"), "mine.json"), IoError);
  CHECK_THROWS_AS(parse_device_profile(with("f32_flops_per_s", "1e999"), "mine.json"), IoError);
  CHECK_THROWS_AS(parse_device_profile(valid().substr(0, 100), "mine.json"), IoError);
  CHECK(refusal("[]") == "mine.json: device profile is a list, expected an object");
}

}  // namespace ltxmem
