// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>

#include "tests/cuda/card.hpp"
#include "tests/support/transformer_example.hpp"
#include "tests/support/video_example.hpp"

/// The video autoencoder in 16 bits on a CUDA device, here a test double: convolutions of its wider layers run on the
/// matrix units, the others in fp32 arithmetic.

namespace {

using namespace ltx2;
using namespace ltx2::test;

double difference(const HostVolume& a, const HostVolume& b) {
  double sum = 0.0, square = 0.0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    sum += std::pow(static_cast<double>(a.values[i]) - static_cast<double>(b.values[i]), 2);
    square += std::pow(static_cast<double>(b.values[i]), 2);
  }
  return std::sqrt(sum / square);
}

}  // namespace

TEST_CASE("In bf16 the video decoder on a card is as near to exact values as on the processor", "[cuda][video]") {
  Json json = read_json_file(golden_path("configs/ltx23_tiny.json"));
  json["components"] = Json::array({"vae"});
  json["config"]["vae"]["decoder_base_channels"] = 16;  // wide enough for weights to be what takes most memory
  SynthesisedCheckpoint checkpoint(parse_description(json, "channels of the matrix units"));
  const HostVolume latent({2, 1, 2, 6}, 5);
  Runtime processor(case_settings());
  const HostVolume exact = run_decode(processor, *checkpoint, latent);
  Runtime rounding_processor(case_settings(ltxmem::DType::bf16));
  const double rounding = difference(run_decode(rounding_processor, *checkpoint, latent), exact);
  Runtime card(card_settings(ltxmem::DType::bf16));
  const HostVolume got = run_decode(card, *checkpoint, latent);
  CAPTURE(rounding);
  CHECK(rounding > 1e-4);
  CHECK(difference(got, exact) <= 1.5 * rounding);
  const StageReport& stage = card.report().stages.back();
  CHECK(stage.measured_peak == stage.planned_peak);
  expect_clean_card();
}
