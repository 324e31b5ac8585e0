// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/rank_case.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer on ranks that share the heads of every layer, alone or beside ranks that share the tokens.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;
using ltxmem::test::same_bits;

}  // namespace

TEST_CASE("Ranks form rows that share heads and columns that share tokens", "[ranks]") {
  const auto grid = [](int ranks, RankLayout layout, bool idle_primary = false) {
    const RankSettings settings{.count = ranks, .layout = layout, .idle_primary = idle_primary};
    return std::pair(settings.sharing_tokens(), settings.sharing_heads());
  };
  CHECK(grid(6, RankLayout::sequence) == std::pair(6, 1));
  CHECK(grid(6, RankLayout::tensor) == std::pair(1, 6));
  CHECK(grid(1, RankLayout::both) == std::pair(1, 1));
  CHECK(grid(4, RankLayout::both) == std::pair(2, 2));
  CHECK(grid(6, RankLayout::both) == std::pair(3, 2));
  CHECK(grid(7, RankLayout::both) == std::pair(7, 1));
  CHECK(grid(12, RankLayout::both) == std::pair(4, 3));
  CHECK(grid(5, RankLayout::both, true) == std::pair(2, 2));
}

TEST_CASE("Ranks that share heads give what one rank gives in every scheme, whatever their shares and weights",
          "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 41);  // 663 tokens: three tiles of queries
  input.video.condition_first(200, 0.1F);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  for (const std::vector<double>& weights :
       {std::vector<double>{}, std::vector<double>{2, 1, 1}, std::vector<double>{0, 3, 1}}) {
    std::vector<float> of_first_scheme;
    for (const Scheme scheme : schemes) {
      for (const bool streams : {false, true}) {
        Settings settings = rank_settings(3, RankLayout::tensor);
        settings.scheme = scheme;
        settings.query_tile = 256;
        settings.ranks.weights = weights;
        settings.weights.stream = streams;
        INFO(scheme_name(scheme) << ", " << weights.size() << " weights, streamed " << streams);
        const std::vector<float> values = run_pass(input, *checkpoint, settings).values;
        CHECK(difference(values, one) < 2e-5);
        if (of_first_scheme.empty()) of_first_scheme = values;
        CHECK(same_bits(values, of_first_scheme));
      }
    }
  }
}

TEST_CASE("A grid of ranks gives what one rank gives", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 41);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  for (const Scheme scheme : {Scheme::plain, Scheme::e1, Scheme::e2}) {
    for (const bool streams : {false, true}) {
      Settings settings = rank_settings(6, RankLayout::both);
      settings.scheme = scheme;
      settings.weights.stream = streams;
      INFO(scheme_name(scheme) << ", streamed " << streams);
      CHECK(difference(run_pass(input, *checkpoint, settings).values, one) < 2e-5);
    }
  }
}

TEST_CASE("Ranks without a head, or without a token, are idle but for what all do", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 2));  // two heads
  MadeUpInput input(checkpoint.config(), 1, 2, 2, 3);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  for (const Scheme scheme : schemes) {
    Settings settings = rank_settings(7, RankLayout::tensor);
    settings.scheme = scheme;
    const Ran ran = run_pass(input, *checkpoint, settings);
    CHECK(difference(ran.values, one) < 2e-5);
    MadeUpInput larger(checkpoint.config(), 3, 13, 17, 41);
    const std::vector<RankReport> ranks = run_pass(larger, *checkpoint, settings).stage.ranks;
    REQUIRE(ranks.size() == 7);
    CHECK(ranks[5].measured_peak < ranks[6].measured_peak);  // of which the last has a head
  }
  for (const Scheme scheme : {Scheme::e1, Scheme::e2}) {
    Settings settings = rank_settings(25, RankLayout::both);  // five rows for four tokens
    settings.scheme = scheme;
    CHECK(difference(run_pass(input, *checkpoint, settings).values, one) < 2e-5);
  }
}

TEST_CASE("A block sends the sums behind its layers and the squares of its norms", "[ranks]") {
  constexpr std::int64_t blocks = 3;
  constexpr std::int64_t ranks = 4;
  constexpr std::int64_t video = 48;
  constexpr std::int64_t audio = 20;
  constexpr std::int64_t text = 24;
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", blocks));
  const TransformerConfig& config = checkpoint.config();
  MadeUpInput input(config, 2, 6, video / 12, audio, text);
  // All queries and keys of self attention, of text attention, and of both cross-modal ones.
  const std::int64_t norms = 5 * video + 5 * audio + 2 * text;
  // Three attentions and the feed-forward network of both streams.
  const std::int64_t sums = 4 * (video * config.width() + audio * config.audio_width());
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    for (const Scheme scheme : {Scheme::e1, Scheme::e2, Scheme::e4}) {
      Settings settings = rank_settings(static_cast<int>(ranks), dtype);
      settings.ranks.layout = RankLayout::tensor;
      settings.scheme = scheme;
      const Ran ran = run_pass(input, *checkpoint, settings);
      REQUIRE(ran.stage.ranks.size() == ranks);
      for (const RankReport& rank : ran.stage.ranks) {
        CHECK(rank.measured_message_bytes == blocks * 2 * (ranks - 1) * (norms + sums) * 4 / ranks);
      }
    }
  }
}

TEST_CASE("A block of a grid sends the sums of its rows and the keys and values of its columns", "[ranks]") {
  constexpr std::int64_t blocks = 2;
  constexpr std::int64_t side = 2;
  constexpr std::int64_t video = 24;  // on each rank
  constexpr std::int64_t audio = 10;  // likewise
  constexpr std::int64_t text = 24;
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", blocks));
  const TransformerConfig& config = checkpoint.config();
  MadeUpInput input(config, 2, 6, side * video / 12, side * audio, text);
  const std::int64_t norms = 5 * video + 5 * audio + 2 * text;
  const std::int64_t sums = 4 * (video * config.width() + audio * config.audio_width());
  const std::int64_t row = 2 * (side - 1) * (norms + sums) * 4 / side;
  const std::int64_t ring = (side - 1) * video * 2 * config.width() / side * 4;
  const std::int64_t states = (side - 1) * audio * (config.audio_width() + 2 * config.heads) / side * 4;
  const std::int64_t sound = (side - 1) * audio * 5 * config.audio_width() / side * 4;
  const Ran ran = run_pass(input, *checkpoint, rank_settings(side * side, RankLayout::both));
  REQUIRE(ran.stage.ranks.size() == side * side);
  for (const RankReport& rank : ran.stage.ranks) {
    CHECK(rank.measured_message_bytes == blocks * (row + ring + states + sound));
  }
}

TEST_CASE("A prefix is saved by ranks that share heads", "[ranks][prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 4));
  MadeUpInput input(checkpoint.config(), 1, 2, 3, 5);
  const auto run_steps = [&](Settings settings) {
    return run_passes(input, *checkpoint, settings, 2, [&](int pass) {
      input.prefix = {2, pass == 0 ? SharedPrefix::Role::save : SharedPrefix::Role::resume};
    });
  };
  for (const RankLayout layout : {RankLayout::tensor, RankLayout::both}) {
    Settings settings = rank_settings(4, layout);
    const PassesResult whole = run_steps(settings);
    settings.saved_prefix = ltxmem::MemorySpace::device;
    const PassesResult saved = run_steps(settings);
    CHECK(same_bits(saved.values, whole.values));
    CHECK(saved.flops < whole.flops);
    CHECK(saved.planned == saved.measured);
  }
}

TEST_CASE("An idle primary leaves the grid to the others", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 5, 7, 11);
  for (const RankLayout layout : {RankLayout::tensor, RankLayout::both}) {
    Settings settings = rank_settings(5, layout);
    settings.ranks.idle_primary = true;
    const Ran idle = run_pass(input, *checkpoint, settings);
    const Ran working = run_pass(input, *checkpoint, rank_settings(4, layout));
    CHECK(same_bits(idle.values, working.values));
    REQUIRE(idle.stage.ranks.size() == 5);
    CHECK(idle.stage.ranks[0].measured_peak == 0);
    for (std::size_t rank = 0; rank < 4; ++rank) {
      CHECK(idle.stage.ranks[rank + 1].measured_peak == working.stage.ranks[rank].measured_peak);
      CHECK(idle.stage.ranks[rank + 1].measured_message_bytes == working.stage.ranks[rank].measured_message_bytes);
    }
  }
}

TEST_CASE("Only a grid with one row or column takes weights of ranks", "[ranks]") {
  Settings settings = rank_settings(4, RankLayout::tensor);
  settings.ranks.weights = {2, 1, 1, 1};
  CHECK_NOTHROW(Runtime(settings));
  settings.ranks.layout = RankLayout::both;
  CHECK_THROWS_WITH(Runtime(settings), Contains("weights with layout both, expected sequence or tensor"));
}

TEST_CASE("A rank of a grid that fails ends the pass of all, with an error that names it", "[ranks][faults]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  MadeUpInput input(checkpoint.config(), 2, 5, 7, 11);
  for (const RankLayout layout : {RankLayout::tensor, RankLayout::both}) {
    for (int culprit = 0; culprit < 4; ++culprit) {
      for (const bool stalls : {false, true}) {
        if (stalls && culprit != 2) continue;
        Settings settings = rank_settings(4, layout);
        settings.ranks.deadline = std::chrono::milliseconds(stalls ? 500 : 60'000);
        Runtime runtime(settings);
        runtime.watch_ranks([&](int rank, const char* name, std::int64_t index) {
          if (rank != culprit || std::string(name) != "block" || index != 1) return;
          if (!stalls) throw ltxmem::IoError("made to fail");
          std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        });
        INFO(rank_layout_name(layout) << ", rank " << culprit << (stalls ? " stalls" : " fails"));
        try {
          input.run(runtime, *checkpoint);
          FAIL("the pass ended without an error");
        } catch (const ltxmem::RankError& error) {
          CHECK(error.rank() == culprit);
          CHECK_THAT(error.what(), Contains("rank " + std::to_string(culprit) +
                                            (stalls ? " did not come within 500 ms" : " failed in block 1")));
        }
      }
    }
  }
}
