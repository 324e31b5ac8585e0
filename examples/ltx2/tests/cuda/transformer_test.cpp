// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "tests/cuda/card.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer on a CUDA device, here a test double, against the transformer on the processor.

namespace {

using namespace ltx2;
using namespace ltx2::test;

Settings settings_of(Scheme scheme, const WeightPlacement& weights) {
  Settings settings = card_settings();
  settings.scheme = scheme;
  settings.weights = weights;
  settings.weights.device_reads_files = false;
  return settings;
}

/// What a kernel on a device may differ by from the processor in f32, relative to the largest value: sums are added in
/// another order.
constexpr double tolerance = 2e-5;

double difference(std::span<const float> got, const std::vector<float>& expected) {
  REQUIRE(got.size() == expected.size());
  double most = 0;
  double largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    most = std::max(most, std::abs(double{got[i]} - double{expected[i]}));
    largest = std::max(largest, std::abs(double{expected[i]}));
  }
  REQUIRE(largest > 0);
  return most / largest;
}

/// Two calls on the device have the values of the processor, in exactly the bytes that their plan says.
void check_on_card(MadeUpInput& input, const Checkpoint& checkpoint, Scheme scheme, const WeightPlacement& weights) {
  INFO("scheme " << scheme_name(scheme) << ", weights " << weights_text(weights));
  const std::vector<float> expected = run(input, checkpoint, ltxmem::DType::f32, {256, 256, 256, 1}, scheme);
  const PassesResult got = run_passes(input, checkpoint, settings_of(scheme, weights), 2, [&](int) {
    for (const auto& view : {input.output().video, input.output().audio}) std::fill_n(view.data(), view.size(), NAN);
  });
  CHECK(got.measured == got.planned);
  const std::span<const float> values(got.values);
  for (const auto& call : {values.first(expected.size()), values.last(expected.size())}) {
    CHECK(difference(call, expected) <= tolerance);
  }
  expect_clean_card();
}

}  // namespace

TEST_CASE("The transformer on a card has the values of the processor with every scheme", "[cuda][transformer][long]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 1));
  MadeUpInput input(checkpoint.config(), 2, 11, 12, 5, 3);  // 264 tokens: a tile of 256 and a part
  input.video.condition_first(132, 0.1F);
  for (const Scheme scheme : schemes) check_on_card(input, *checkpoint, scheme, {});
}

TEST_CASE("The transformer on a card finds streamed weights", "[cuda][transformer]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 3));
  MadeUpInput input(checkpoint.config(), 1, 2, 3, 2, 3);
  check_on_card(input, *checkpoint, Scheme::e1, {.stream = true, .slots = 1});
  check_on_card(input, *checkpoint, Scheme::e1, {.stream = true, .slots = 2, .resident_blocks = 1});
}

TEST_CASE("The transformer on a card takes float8 weights and a mask", "[cuda][transformer]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_fp8", 1));
  MadeUpInput input(checkpoint.config(), 1, 3, 5, 2, 3);
  const std::vector<float> mask = ltxmem::test::random_values<float>(15 * 15, 4);
  input.video.input().attention_mask = {mask.data(), {15, 15}};
  check_on_card(input, *checkpoint, Scheme::e1, {});
}

TEST_CASE("In bf16 the transformer on a card is as near to exact values as on the processor", "[cuda][transformer]") {
  Json json = read_json_file(golden_path("configs/ltx23_tiny.json"));
  json["components"] = Json::array({"transformer"});
  json["config"]["transformer"].update({{"num_layers", 1},
                                        {"num_attention_heads", 2},
                                        {"attention_head_dim", 128},
                                        {"cross_attention_dim", 256},
                                        {"audio_num_attention_heads", 2},
                                        {"audio_attention_head_dim", 64},
                                        {"audio_cross_attention_dim", 128}});
  SynthesisedCheckpoint checkpoint(parse_description(json, "heads of the matrix units"));
  MadeUpInput input(checkpoint.config(), 1, 3, 5, 7, 3);
  const Execution execution{256, 256, 256, 1};
  const std::vector<float> exact = run(input, *checkpoint, ltxmem::DType::f32, execution);
  const double rounding = difference(run(input, *checkpoint, ltxmem::DType::bf16, execution), exact);
  Settings settings = settings_of(Scheme::e1, {});
  settings.dtype = ltxmem::DType::bf16;
  const PassesResult got = run_passes(input, *checkpoint, settings, 1, [](int) {});
  CAPTURE(rounding);
  CHECK(rounding > 1e-4);
  CHECK(difference(got.values, exact) <= 2 * rounding);
  CHECK(got.measured == got.planned);
  expect_clean_card();
}
