// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// What a forward pass takes, planned without weights and measured with them.

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// fn(checkpoint, input, output) of a pass over a video of this many latent frames of height x width cells on the model
/// of true 2.3 width. No weights and no latents exist.
template <class Fn>
auto with_true_width(std::int64_t frames, std::int64_t height, std::int64_t width, std::int64_t distinct_timesteps,
                     std::int64_t blocks, const Fn& fn) {
  Json json = read_json_file(golden_path("configs/real23.json"));
  json["config"]["transformer"]["num_layers"] = blocks;
  const Checkpoint checkpoint(parse_description(json, "real23"));
  const std::int64_t tokens = frames * height * width;
  const TokenPositions video_positions = [&] {
    const std::vector<float> midpoints = video_midpoints(frames, height, width);
    return distinct_positions({midpoints.data(), {tokens, 3}});
  }();
  const TokenPositions audio_positions = [] {
    const std::vector<float> midpoints = audio_midpoints(126);
    return distinct_positions({midpoints.data(), {126, 1}});
  }();
  const auto nowhere = reinterpret_cast<float*>(std::uintptr_t{1} << 60);  // a plan reads no input
  TransformerInput input;
  StreamInput video;
  video.latent = {nowhere, {tokens, 128}};
  video.timesteps.assign(static_cast<std::size_t>(distinct_timesteps), 0.5F);
  video.timestep_index = {reinterpret_cast<const std::int32_t*>(nowhere), {tokens}};
  video.positions = &video_positions;
  video.context = {nowhere, {1024, 4096}};
  StreamInput audio = video;
  audio.latent = {nowhere, {126, 128}};
  audio.timestep_index = {reinterpret_cast<const std::int32_t*>(nowhere), {126}};
  audio.positions = &audio_positions;
  audio.context = {nowhere, {1024, 2048}};
  input.video = video;
  input.audio = audio;
  return fn(checkpoint, input, TransformerOutput{{nowhere, {tokens, 128}}, {nowhere, {126, 128}}});
}

Settings true_width_settings(Scheme scheme, int ranks, int ulysses_degree) {
  Settings settings;
  settings.dtype = ltxmem::DType::bf16;
  settings.scheme = scheme;
  settings.ranks.count = ranks;
  settings.ranks.ulysses_degree = ulysses_degree;
  return settings;
}

/// Planned bytes of the first rank for frames of 34 x 60 cells.
SpaceBytes planned_spaces(std::int64_t frames, std::int64_t distinct_timesteps, std::int64_t blocks = 1,
                          Scheme scheme = Scheme::e1, int ranks = 1, int ulysses_degree = 1) {
  Runtime runtime(true_width_settings(scheme, ranks, ulysses_degree));
  return with_true_width(
      frames, 34, 60, distinct_timesteps, blocks,
      [&](const Checkpoint& checkpoint, const TransformerInput& input, const TransformerOutput& output) {
        return TransformerModel(runtime, checkpoint).plan(input, output).peak;
      });
}

std::size_t planned_bytes(std::int64_t frames, std::int64_t distinct_timesteps, std::int64_t blocks = 1) {
  return planned_spaces(frames, distinct_timesteps, blocks)[0];
}

/// What one more video token takes of each space on the rank that holds it, in units of a row of 4096 bf16 numbers.
/// Scratch, text and audio are the same at both lengths; a rank has as many tokens whatever their number.
std::array<double, 3> units_per_token(Scheme scheme, int ranks = 1, int ulysses_degree = 1) {
  const SpaceBytes longer = planned_spaces(113 * ranks, 1, 1, scheme, ranks, ulysses_degree);
  const SpaceBytes shorter = planned_spaces(57 * ranks, 1, 1, scheme, ranks, ulysses_degree);
  std::array<double, 3> units{};
  for (std::size_t space = 0; space < units.size(); ++space) {
    units[space] = static_cast<double>(longer[space] - shorter[space]) / (56.0 * 34 * 60 * 8192);
  }
  return units;
}

}  // namespace

TEST_CASE("Per video token E1 takes x, keys and values, and a hundredth of that beside", "[memory]") {
  const auto units = units_per_token(Scheme::e1);
  INFO(units[0] << " units per token");
  CHECK(units[0] <= 3.02);
  CHECK(units[0] >= 3.0);
  CHECK(units[1] == 0.0);
}

TEST_CASE("Per video token E2 takes x, attended rows and an eighth of keys and values", "[memory]") {
  const auto units = units_per_token(Scheme::e2);
  INFO(units[0] << " units per token");
  CHECK(units[0] <= 2.27);
  CHECK(units[0] >= 2.25);
  CHECK(units[1] == 0.0);
}

TEST_CASE("Per video token E3 takes x on the device, keys and values in pinned memory", "[memory]") {
  const auto units = units_per_token(Scheme::e3);
  INFO(units[0] << " units per token");
  CHECK(units[0] <= 1.02);
  CHECK(units[0] >= 1.0);
  CHECK(units[1] == 2.0);
}

TEST_CASE("Per video token E4 takes next to nothing on the device, x, keys and values in pinned memory", "[memory]") {
  const auto units = units_per_token(Scheme::e4);
  INFO(units[0] << " units per token");
  CHECK(units[0] <= 0.05);
  CHECK(units[1] == 3.0);
}

TEST_CASE("The plain scheme takes more per video token than any other", "[memory]") {
  CHECK(units_per_token(Scheme::plain)[0] > 8.0);
}

TEST_CASE("Of four ranks each takes, per token of its own, two shards of keys and values and the state of its queries",
          "[memory][ranks]") {
  struct Expected {
    Scheme scheme;
    double device;
    double pinned;
  };
  // x, attended rows, 4 of keys and values, 2 of state; from E2 on an eighth of the latter two. E3 and E4 keep the
  // attended rows in host memory, and E4 x, and have queries of their own.
  for (const Expected& expected : {Expected{Scheme::e1, 8.0, 0.0}, Expected{Scheme::e2, 2.75, 0.0},
                                   Expected{Scheme::e3, 1.875, 1.0}, Expected{Scheme::e4, 0.875, 2.0}}) {
    const auto units = units_per_token(expected.scheme, 4);
    INFO(scheme_name(expected.scheme) << ": " << units[0] << " units per token on the device, " << units[1]
                                      << " pinned");
    CHECK(units[0] >= expected.device);
    CHECK(units[0] <= expected.device + 0.07);
    CHECK(units[1] == expected.pinned);
  }
}

TEST_CASE("Of four ranks that trade tokens for heads each takes what it sends and what it gets of one group of heads",
          "[memory][ranks]") {
  struct Expected {
    Scheme scheme;
    int degree;
    double device;
  };
  // x and attended rows; of the heads at work own keys and values (2), queries of own heads for all tokens of the row
  // (1), their keys and values (2, between rows twice that), and packed rows or the state (2).
  for (const Expected& expected :
       {Expected{Scheme::e1, 4, 2 + 7.0}, Expected{Scheme::e1, 2, 2 + 9.0}, Expected{Scheme::e2, 4, 2 + 7.0 / 8},
        Expected{Scheme::e2, 2, 2 + 9.0 / 8}, Expected{Scheme::e4, 4, 1.0}}) {
    const auto units = units_per_token(expected.scheme, 4, expected.degree);
    INFO(scheme_name(expected.scheme) << ", degree " << expected.degree << ": " << units[0] << " units per token");
    CHECK(units[0] >= expected.device);
    CHECK(units[0] <= expected.device + 0.07);
  }
}

TEST_CASE("Ranks with as many tokens take what the rows that they trade with differ by", "[memory][ranks]") {
  Runtime runtime(true_width_settings(Scheme::e1, 6, 2), Runtime::DryRun());
  {
    const Stage stage(runtime, "pass");
    // 120,005 tokens: shares of 20,000 and five times 20,001, rows of 40,001, 40,002 and 40,002.
    with_true_width(5, 1, 24001, 1, 1,
                    [&](const Checkpoint& checkpoint, const TransformerInput& input, const TransformerOutput& output) {
                      TransformerModel(runtime, checkpoint).predict(input, output);
                    });
  }
  const std::vector<RankReport>& ranks = runtime.report().stages.back().ranks;
  REQUIRE(ranks.size() == 6);
  // One token more for 16 of 32 heads of 128: its queries and the sums of their softmax. Slots of keys and values are
  // alike, and a number per head of 40,002 tokens ends where one of 40,001 does, rounded up to the alignment.
  CHECK(ranks[4].planned_peak - ranks[1].planned_peak == 16 * 128 * (2 + 4));
}

TEST_CASE("No scheme takes host memory of its own", "[memory]") {
  for (const Scheme scheme : schemes) CHECK(planned_spaces(16, 1, 1, scheme)[2] == 0);
}

TEST_CASE("Another distinct timestep costs rows, not tokens", "[memory]") {
  const std::size_t one = planned_bytes(57, 1);
  const std::size_t two = planned_bytes(57, 2);
  // 9 + 4 + 1 rows of the timestep networks, 9 + 4 of a block, 4096 wide in fp32, and 2048 wide for the audio.
  CHECK(two - one == (14 + 13) * (4096 + 2048) * sizeof(float));
}

TEST_CASE("Blocks use the same memory one after the other", "[memory]") {
  CHECK(planned_bytes(16, 1, 48) == planned_bytes(16, 1, 1));
}

TEST_CASE("What was planned is what is used, for every kind of pass", "[memory]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    for (const Scheme scheme : schemes) {
      Settings settings = case_settings(dtype);
      settings.scheme = scheme;
      settings.query_tile = settings.key_tile = 256;
      Runtime runtime(settings);
      TransformerModel model(runtime, *checkpoint);
      MadeUpInput input(checkpoint.config(), 7, 10, 10, 40);
      // The workspace throws when its peak is not the planned one; the stage compares what the resource counted.
      for (const std::vector<BlockSkips>& skips :
           {std::vector<BlockSkips>{}, std::vector<BlockSkips>{{.video_self = true, .audio_self = true}, {}},
            std::vector<BlockSkips>(2, {.audio_to_video = true, .video_to_audio = true})}) {
        input.skips = skips;
        const Stage stage(runtime, "pass");
        REQUIRE_NOTHROW(model.predict(input.input(), input.output()));
      }
      for (const StageReport& stage : runtime.report().stages) {
        CHECK(stage.planned_peak[0] > 0);
        CHECK(stage.planned_peak == stage.measured_peak);
      }
    }
  }
}

TEST_CASE("Smaller tiles take less memory", "[memory]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 1));
  MadeUpInput input(checkpoint.config(), 9, 15, 16, 40);
  std::size_t last = 0;
  for (const std::int64_t tile : {256, 512, 1024, 2048}) {
    Settings settings = case_settings();
    settings.query_tile = settings.ffn_chunk = tile;
    Runtime runtime(settings);
    const std::size_t bytes = TransformerModel(runtime, *checkpoint).plan(input.input(), input.output()).peak[0];
    CHECK(bytes > last);
    last = bytes;
  }
}
