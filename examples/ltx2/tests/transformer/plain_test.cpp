// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/plain_transformer.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer against its plain evaluation, on inputs of more than one quantum of rows and keys.

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// max |got - truth| / max |truth| of one stream.
double error_of(const float* got, const Matrix& truth) {
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < truth.values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - truth.values[i]);
    if (!(difference <= worst)) worst = difference;
    largest = std::max(largest, std::abs(truth.values[i]));
  }
  return worst / largest;
}

struct Errors {
  double video;
  double audio;
};

Errors errors_of(const std::vector<float>& got, const PlainTransformer::Velocities& truth) {
  return {error_of(got.data(), truth.video), error_of(got.data() + truth.video.values.size(), truth.audio)};
}

Errors errors_of(const PlainTransformer::Velocities& got, const PlainTransformer::Velocities& truth) {
  std::vector<float> values;
  for (const Matrix* matrix : {&got.video, &got.audio}) {
    for (const double value : matrix->values) values.push_back(static_cast<float>(value));
  }
  return errors_of(values, truth);
}

void check_f32(MadeUpInput& input, SynthesisedCheckpoint& checkpoint) {
  Runtime runtime(case_settings());
  const Errors errors = errors_of(input.run(runtime, *checkpoint),
                                  PlainTransformer(*checkpoint, checkpoint.config(), false)(input.input()));
  CHECK(errors.video < 1e-5);
  CHECK(errors.audio < 1e-5);
}

void check_bf16(MadeUpInput& input, SynthesisedCheckpoint& checkpoint) {
  const auto truth = PlainTransformer(*checkpoint, checkpoint.config(), false)(input.input());
  const Errors plain = errors_of(PlainTransformer(*checkpoint, checkpoint.config(), true)(input.input()), truth);
  Runtime runtime(case_settings(ltxmem::DType::bf16));
  const Errors errors = errors_of(input.run(runtime, *checkpoint), truth);
  INFO("bf16: video " << errors.video << ", plain " << plain.video << "; audio " << errors.audio << ", plain "
                      << plain.audio);
  CHECK(plain.video > 1e-3);
  CHECK(errors.video <= 2 * plain.video);
  CHECK(errors.audio <= 2 * plain.audio);
}

}  // namespace

TEST_CASE("The 2.3 transformer agrees with its plain evaluation over several tiles", "[plain]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 5, 8, 15, 300, 270);
  input.video.condition_first(120, 0.2F);
  input.audio.condition_first(9, 0.0F);
  input.video.input().sigma = 0.6F;
  check_f32(input, checkpoint);
}

TEST_CASE("The 2.0 transformer agrees with its plain evaluation over several tiles", "[plain]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 12, 15, 300, 33);
  input.video.condition_first(180, 0.0F);
  check_f32(input, checkpoint);
}

TEST_CASE("Perturbed blocks agree with their plain evaluation over several tiles", "[plain]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  MadeUpInput input(checkpoint.config(), 3, 10, 10, 40);
  input.skips = {{.video_self = true, .audio_self = true}, {.audio_to_video = true}, {.video_to_audio = true}};
  check_f32(input, checkpoint);
}

TEST_CASE("A disabled video is only seen by the audio", "[plain]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 10, 10, 40);
  input.video.input().enabled = false;
  check_f32(input, checkpoint);
}

TEST_CASE("A masked row that sees nothing spreads evenly, others see what the mask leaves", "[plain]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 10, 10, 12);
  std::vector<float> mask = ltxmem::test::random_values<float>(300 * 300, 9);
  for (float& value : mask) value = std::max(value, 0.0F);  // about half of the pairs hidden
  std::fill_n(mask.begin() + 270 * 300, 300, 0.0F);
  input.video.input().attention_mask = {mask.data(), {300, 300}};
  check_f32(input, checkpoint);
}

TEST_CASE("In bf16 the 2.3 transformer errs at most twice as much as a plain bf16 evaluation", "[plain][bf16]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  MadeUpInput input(checkpoint.config(), 3, 10, 10, 40);
  check_bf16(input, checkpoint);
}

TEST_CASE("In bf16 the 2.0 transformer errs at most twice as much as a plain bf16 evaluation", "[plain][bf16]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 3));
  MadeUpInput input(checkpoint.config(), 3, 10, 10, 40);
  check_bf16(input, checkpoint);
}

TEST_CASE("In bf16 per-token timesteps and perturbations err at most twice as much as plainly", "[plain][bf16]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  MadeUpInput input(checkpoint.config(), 4, 8, 8, 60);
  input.video.condition_first(64, 0.0F);
  input.skips = {{}, {.video_self = true, .audio_self = true}, {}};
  check_bf16(input, checkpoint);
}
