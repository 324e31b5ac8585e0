// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <string>
#include <vector>

#include "doubles/control.hpp"
#include "support/catch.hpp"
#include "tests/cuda/transformer_runner.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer on a CUDA device, here a test double, against the transformer on the processor.

namespace {

using namespace ltx2;
using namespace ltx2::test;

Settings card_settings(Scheme scheme, const WeightPlacement& weights) {
  Settings settings;
  settings.device.kind = ltxmem::DeviceKind::cuda;
  settings.dtype = ltxmem::DType::f32;
  settings.scheme = scheme;
  settings.query_tile = settings.key_tile = settings.ffn_chunk = 256;
  settings.weights = weights;
  settings.weights.device_reads_files = false;
  return settings;
}

/// What a kernel on a device may differ by from the processor in f32, relative to the largest value: sums are added in
/// another order.
constexpr double tolerance = 2e-5;

double difference(const std::vector<float>& got, const std::vector<float>& expected) {
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

/// Two calls on the device have the values of one on the processor, in exactly the bytes that a plan for the card says.
void check_on_card(MadeUpInput& input, const Checkpoint& checkpoint, Scheme scheme, const WeightPlacement& weights) {
  const Settings settings = card_settings(scheme, weights);
  INFO("scheme " << scheme_name(scheme) << ", weights " << weights_text(weights));
  const std::vector<float> expected = run(input, checkpoint, settings.dtype, {256, 256, 256, 1}, scheme);

  Runtime dry(settings, Runtime::DryRun{});
  const Runtime::Plan plan = TransformerModel(dry, checkpoint).plan(input.input(), input.output());
  TransformerOutput output = input.output();
  for (const auto& view : {output.video, output.audio}) std::fill_n(view.data(), view.size(), NAN);
  const WorkspaceBytes used =
      transform_on_cuda(checkpoint, *checkpoint.config().transformer, settings, plan.peak, 2, input.input(), output);
  CHECK(used == plan.peak);
  std::vector<float> got(output.video.data(), output.video.data() + output.video.size());
  got.insert(got.end(), output.audio.data(), output.audio.data() + output.audio.size());
  CHECK(difference(got, expected) <= tolerance);
  CHECK(doubles::findings() == std::vector<std::string>());
  CHECK(doubles::live_allocations() == 0);
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
