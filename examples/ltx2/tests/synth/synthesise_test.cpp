// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "synth/synthesise.hpp"

#include <filesystem>
#include <numeric>
#include <string>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "synth/inventory.hpp"
#include "synth/python_json.hpp"
#include "synth/values.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

using Catch::Matchers::Contains;
using namespace ltx2;
using namespace ltx2::test;

namespace {

std::string written(const Json& description, int threads = 1) {
  const ScratchFolder folder;
  SynthesisOptions options;
  options.threads = threads;
  synthesise(parse_description(description, "test"), folder / "model", options);
  return file_text(folder / "model");
}

Json description_of(const std::string& name) {
  return read_json_file(golden_path("configs/" + name + ".json"));
}

/// 64-bit FNV-1a of a whole file.
std::uint64_t digest(const std::string& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{14695981039346656037U},
                         [](std::uint64_t hash, char byte) {
                           return (hash ^ static_cast<unsigned char>(byte)) * std::uint64_t{1099511628211U};
                         });
}

std::int64_t parameters(const std::vector<ltxmem::TensorSpec>& tensors) {
  std::int64_t sum = 0;
  for (const auto& tensor : tensors) sum += static_cast<std::int64_t>(tensor.bytes() / dtype_bytes(tensor.dtype));
  return sum;
}

}  // namespace

TEST_CASE("Every golden model is written byte for byte", "[synth]") {
  // The digests are those of the published model files, made by the Python tool.
  static constexpr std::pair<const char*, std::uint64_t> models[] = {
      {"ltx20_tiny", 0x866d769aae4bc47eU}, {"ltx23_tiny", 0x75215199f212f0e6U},    {"ltx23_fp8", 0x0fc20be9e78f2783U},
      {"lora_tiny", 0x0b9d5aa63d704f84U},  {"upscaler_tiny", 0x12b05b35e3205325U}, {"gemma_tiny", 0x28131d9408279d00U}};
  for (const auto& [name, expected] : models) {
    INFO(name);
    CHECK(digest(written(description_of(name))) == expected);
  }
}

TEST_CASE("Golden models beside the repository equal ours", "[synth]") {
  const std::filesystem::path models = std::string(LTX2_SHARED_GOLDEN_DIR) + "/models";
  if (!std::filesystem::exists(models)) return;
  for (const char* name : {"ltx20_tiny", "ltx23_tiny", "ltx23_fp8", "lora_tiny", "upscaler_tiny"}) {
    INFO(name);
    CHECK(written(description_of(name)) == file_text((models / (std::string(name) + ".safetensors")).string()));
  }
  CHECK(written(description_of("gemma_tiny")) == file_text((models / "gemma_tiny/model.safetensors").string()));
}

TEST_CASE("The number of threads changes no byte of a synthetic model", "[synth]") {
  Json json = description_of("upscaler_tiny");
  json["config"]["mid_channels"] = 96;  // tensors large enough to be shared among threads
  const std::string one = written(json, 1);
  CHECK(written(json, 2) == one);
  CHECK(written(json, 5) == one);
}

TEST_CASE("A salt changes every tensor, a gain only those it names", "[synth]") {
  const Json plain = description_of("lora_tiny");
  Json salted = plain, gained = plain;
  salted["salt"] = "other";
  gained["gain"] = {{"attn1.to_q", 2.0}};
  const std::string a = written(plain), b = written(salted), c = written(gained);
  CHECK(a.size() == b.size());
  CHECK(a.substr(a.size() - 64) != b.substr(b.size() - 64));
  CHECK(a.substr(a.size() - 64) == c.substr(c.size() - 64));
  CHECK(a != c);
}

TEST_CASE("A model that was stopped leaves no file", "[synth]") {
  const ScratchFolder folder;
  std::stop_source source;
  SynthesisOptions options;
  options.stop = source.get_token();
  options.progress = [&](std::size_t done, std::size_t total) {
    if (done * 2 > total) source.request_stop();
  };
  CHECK_THROWS_AS(synthesise(parse_description(description_of("gemma_tiny"), "t"), folder / "m", options),
                  ltxmem::Cancelled);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("Progress ends with all bytes", "[synth]") {
  const ScratchFolder folder;
  std::size_t last = 0, whole = 1;
  SynthesisOptions options;
  options.progress = [&](std::size_t done, std::size_t total) {
    CHECK(done >= last);
    last = done;
    whole = total;
  };
  synthesise(parse_description(description_of("lora_tiny"), "t"), folder / "m", options);
  CHECK(last == whole);
}

TEST_CASE("The released transformers have the published tensor and parameter counts", "[synth]") {
  TransformerConfig config;
  config.caption_channels = 3840;
  tensors::List v20(ltxmem::DType::bf16);
  tensors::transformer(v20, config);
  const auto first = v20.take();
  CHECK(first.size() == 3510);
  CHECK(static_cast<double>(parameters(first)) / 1e9 == Approx(18.876).margin(0.0005));
  config.gated_attention = config.text_modulation = true;
  config.caption_projection = false;
  tensors::List v23(ltxmem::DType::bf16);
  tensors::transformer(v23, config);
  const auto second = v23.take();
  CHECK(second.size() == 4186);
  CHECK(static_cast<double>(parameters(second)) / 1e9 == Approx(18.989).margin(0.0005));
}

TEST_CASE("Descriptions that are malformed are refused by the key", "[synth]") {
  const auto refusal = [](const Json& json) {
    return message_of<ltxmem::IoError>([&] { inventory(parse_description(json, "source")); });
  };
  Json json = description_of("lora_tiny");
  json["kind"] = "model";
  CHECK_THAT(refusal(json), Contains("source.kind"));
  json = description_of("lora_tiny");
  json["targets"][0] = "nowhere";
  CHECK_THAT(refusal(json), Contains("'nowhere'"));
  json = description_of("ltx23_tiny");
  json["dtype"] = "F16";
  CHECK_THAT(refusal(json), Contains("source.dtype"));
  json = description_of("ltx23_tiny");
  json["components"] = {"clock"};
  CHECK_THAT(refusal(json), Contains("clock"));
  json = description_of("ltx23_tiny");
  json["config"].erase("vae");
  CHECK_THAT(refusal(json), Contains("config.vae") && Contains("missing"));
  json = description_of("ltx23_tiny");
  json.erase("gemma");
  CHECK_THAT(refusal(json), Contains("gemma"));
}

TEST_CASE("Numbers are spelt as Python spells them", "[synth]") {
  CHECK(python_number(1000) == "1000.0");
  CHECK(python_number(1e-6) == "1e-06");
  CHECK(python_number(0.0001) == "0.0001");
  CHECK(python_number(-0.0) == "-0.0");
  CHECK(python_number(1e15) == "1000000000000000.0");
  CHECK(python_number(1e16) == "1e+16");
  CHECK(python_number(0.1) == "0.1");
  CHECK(python_number(1.5e300) == "1.5e+300");
  CHECK(python_json(Json::parse(R"({"b": [1, null, true], "a": "\u00e9"})")) ==
        R"({"b": [1, null, true], "a": "\u00e9"})");
}

TEST_CASE("The Kaiser filter is symmetric and sums to one", "[synth]") {
  const auto filter = kaiser_filter(12);
  CHECK(std::accumulate(filter.begin(), filter.end(), 0.0) == Approx(1.0).epsilon(1e-14));
  for (std::size_t i = 0; i < 6; ++i) CHECK(filter[i] == Approx(filter[11 - i]).epsilon(1e-13));
}
