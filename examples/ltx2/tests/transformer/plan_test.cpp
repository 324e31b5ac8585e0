// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <functional>
#include <vector>

#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Plans of calls: made once for equal shapes, and never taken for those of another call.

namespace {

using namespace ltx2;
using namespace ltx2::test;

struct Call {
  explicit Call(const TransformerConfig& config) : made_up(config, 2, 4, 5, 9) {
    input = made_up.input();
    output = made_up.output();
  }

  MadeUpInput made_up;
  TransformerInput input;
  TransformerOutput output;
};

}  // namespace

TEST_CASE("Calls of the same shapes are planned once, whatever their values") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  Runtime runtime(case_settings(), Runtime::DryRun{});
  const TransformerModel model(runtime, *checkpoint);
  Call call(checkpoint.config());
  const auto first = model.plan(call.input, call.output);
  call.input.video->sigma = 0.25F;
  call.input.video->timesteps = {0.25F};
  CHECK(model.plan(call.input, call.output).work == first.work);
}

TEST_CASE("A call that differs in anything but values gets a plan of its own") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  Settings settings = case_settings();
  settings.saved_prefix = ltxmem::MemorySpace::device;
  Runtime runtime(settings, Runtime::DryRun{});
  const TransformerModel model(runtime, *checkpoint);
  Call call(checkpoint.config());
  Call longer(checkpoint.config());
  longer.made_up.video.condition_first(7, 0.0F);
  const std::vector<float> mask(40 * 40, 1.0F);
  const std::vector<float> midpoints = video_midpoints(2, 5, 4);
  const TokenPositions other_positions = distinct_positions({midpoints.data(), {40, 3}});
  const auto skip = [](TransformerInput& input, BlockSkips skips) { input.skips.assign(3, skips); };
  const std::vector<std::function<void(TransformerInput&, TransformerOutput&)>> changes{
      [](auto&, auto&) {},
      [&](auto& input, auto&) { input.video = longer.made_up.video.input(); },
      [&](auto& input, auto&) {
        input.video->attention_mask = {mask.data(), {40, 40}};
      },
      [&](auto& input, auto&) { input.video->positions = &other_positions; },
      [](auto& input, auto&) { input.video->context = input.video->context.rows(0, 11); },
      [](auto& input, auto&) { input.audio->context = input.audio->context.rows(0, 11); },
      [](auto& input, auto&) { input.video->enabled = false; },
      [](auto& input, auto&) { input.audio->enabled = false; },
      [&](auto& input, auto&) { skip(input, {.video_self = true}); },
      [&](auto& input, auto&) { skip(input, {.audio_self = true}); },
      [&](auto& input, auto&) { skip(input, {.audio_to_video = true}); },
      [&](auto& input, auto&) { skip(input, {.video_to_audio = true}); },
      [](auto& input, auto&) {
        input.prefix = {2, SharedPrefix::Role::keep};
      },
      [](auto& input, auto&) {
        input.prefix = {2, SharedPrefix::Role::save};
      },
      [](auto& input, auto&) {
        input.prefix = {1, SharedPrefix::Role::save};
      },
      [](auto& input, auto&) {
        input.prefix = {2, SharedPrefix::Role::resume};
      },
      [](auto&, auto& output) { output.video = {}; },
      [](auto&, auto& output) { output.audio = {}; },
      [](auto& input, auto& output) { input.video.reset(), output.video = {}; },
      [](auto& input, auto& output) { input.audio.reset(), output.audio = {}; },
  };
  std::vector<Runtime::Plan> plans;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    TransformerInput input = call.input;
    TransformerOutput output = call.output;
    changes[i](input, output);
    const Runtime::Plan plan = model.plan(input, output);
    const Runtime::Plan alone = TransformerModel(runtime, *checkpoint).plan(input, output);
    CHECK(plan.peak == alone.peak);
    CHECK(plan.operations == alone.operations);
    for (const Runtime::Plan& other : plans) CHECK(plan.work != other.work);
    plans.push_back(plan);
  }
}
