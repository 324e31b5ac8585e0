// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <stop_token>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Inputs that do not fit are refused before any work, and work can be stopped.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;

struct Example {
  SynthesisedCheckpoint checkpoint{tiny_transformer("ltx23_tiny", 2)};
  MadeUpInput made{checkpoint.config(), 2, 3, 4, 7};

  std::string refusal_of(const TransformerInput& input) {
    Runtime runtime(case_settings());
    TransformerModel model(runtime, *checkpoint);
    return message_of<ltxmem::ShapeError>([&] { model.predict(input, made.output()); });
  }
};

}  // namespace

TEST_CASE("A transformer needs a modality", "[refusal]") {
  CHECK_THAT(Example().refusal_of({}), Contains("neither video nor audio"));
}

TEST_CASE("Latents with another number of channels are refused", "[refusal]") {
  Example example;
  auto& input = example.made.video.input();
  input.latent = {input.latent.data(), {24, 5}};
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("video: latent channels 5, expected 6"));
}

TEST_CASE("A modality without tokens is refused", "[refusal]") {
  Example example;
  auto& input = example.made.audio.input();
  input.latent = {input.latent.data(), {0, 32}};
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("audio: no tokens"));
}

TEST_CASE("Timesteps that belong to another number of tokens are refused", "[refusal]") {
  Example example;
  example.made.video.condition_first(3, 0.0F);
  auto& input = example.made.video.input();
  input.timestep_index = input.timestep_index.slice(0, 0, 23);
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("2 timesteps for 23 of 24 tokens"));
}

TEST_CASE("Several timesteps without an index are refused", "[refusal]") {
  Example example;
  example.made.video.input().timesteps = {0.1F, 0.2F};
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("2 timesteps"));
}

TEST_CASE("Positions of other tokens are refused", "[refusal]") {
  Example example;
  example.made.video.input().positions = example.made.audio.input().positions;
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("positions do not fit 24 tokens on 3 axes"));
}

TEST_CASE("A context of another width is refused", "[refusal]") {
  Example example;
  auto& input = example.made.audio.input();
  input.context = {input.context.data(), {20, 31}};
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("audio: context 20 x 31, expected width 32"));
}

TEST_CASE("A mask of another size is refused", "[refusal]") {
  Example example;
  const std::vector<float> mask(24 * 23, 1.0F);
  example.made.video.input().attention_mask = {mask.data(), {24, 23}};
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("attention mask 24 x 23"));
}

TEST_CASE("Perturbations of another number of blocks are refused", "[refusal]") {
  Example example;
  example.made.skips.resize(3);
  CHECK_THAT(example.refusal_of(example.made.input()), Contains("perturbations for 3 blocks of 2"));
}

TEST_CASE("A checkpoint without a transformer is refused", "[refusal]") {
  const Checkpoint checkpoint(read_description(golden_path("configs/upscaler_tiny.json")));
  Runtime runtime(case_settings());
  CHECK_THAT(message_of<ltxmem::IoError>([&] { TransformerModel(runtime, checkpoint); }),
             Contains("no configuration of a transformer"));
}

TEST_CASE("A stopped forward pass throws Cancelled and leaves the model usable", "[refusal]") {
  Example example;
  std::stop_source stop;
  Runtime runtime(case_settings(), stop.get_token());
  TransformerModel model(runtime, *example.checkpoint);
  model.predict(example.made.input(), example.made.output());
  stop.request_stop();
  CHECK_THROWS_AS(model.predict(example.made.input(), example.made.output()), ltxmem::Cancelled);
}
