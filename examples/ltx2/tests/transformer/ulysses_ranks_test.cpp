// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/rank_case.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer on ranks that trade tokens for heads in self attention, all of them or within the rows of a ring.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;
using ltxmem::test::same_bits;

Settings trading_settings(int ranks, int degree, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = rank_settings(ranks, dtype);
  settings.ranks.ulysses_degree = degree;
  return settings;
}

}  // namespace

TEST_CASE("Transformer cases of the reference pass where ranks trade tokens for heads", "[golden][ranks]") {
  struct Grid {
    int ranks;
    int degree;
  };
  for (const Grid grid : {Grid{2, 2}, Grid{3, 3}, Grid{4, 2}, Grid{6, 3}}) {
    for (const std::string& name : case_names("transformer")) {
      CAPTURE(grid.degree);
      check_case_on_ranks("transformer", name, trading_settings(grid.ranks, grid.degree), run_transformer_case);
    }
  }
}

TEST_CASE("Ranks that trade tokens give what one rank gives, whatever their shares and schemes", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 41);  // 663 tokens
  input.video.condition_first(200, 0.1F);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  for (const int degree : {2, 4}) {
    for (const std::vector<double>& weights : {std::vector<double>{}, std::vector<double>{2, 0, 1, 1}}) {
      std::vector<float> first;
      for (const Scheme scheme : schemes) {
        Settings settings = trading_settings(4, degree);
        settings.scheme = scheme;
        settings.query_tile = 256;
        settings.ranks.weights = weights;
        INFO(scheme_name(scheme) << ", degree " << degree << ", " << weights.size() << " weights");
        const std::vector<float> values = run_pass(input, *checkpoint, settings).values;
        CHECK(difference(values, one) < 2e-5);
        if (first.empty()) first = values;
        CHECK(same_bits(values, first));
      }
    }
  }
  Settings grid = rank_settings(4, RankLayout::both);  // rows share heads, columns trade the rest
  grid.ranks.ulysses_degree = 2;
  CHECK(difference(run_pass(input, *checkpoint, grid).values, one) < 2e-5);
}

TEST_CASE("There may be more ranks than heads, or than tokens, to trade", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 2));  // two heads
  MadeUpInput input(checkpoint.config(), 1, 2, 2, 3);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  for (const int ranks : {3, 7}) {
    for (const Scheme scheme : schemes) {
      Settings settings = trading_settings(ranks, ranks);
      settings.scheme = scheme;
      CHECK(difference(run_pass(input, *checkpoint, settings).values, one) < 2e-5);
    }
  }
}

TEST_CASE("A trade sends each token's queries, keys, values and rows once, however many ranks there are", "[ranks]") {
  constexpr std::int64_t blocks = 2;
  constexpr std::int64_t ranks = 4;
  constexpr std::int64_t tokens = 12;  // on each rank
  constexpr std::int64_t audio = 5;    // likewise
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", blocks));
  const TransformerConfig& config = checkpoint.config();
  REQUIRE(config.heads % ranks == 0);
  MadeUpInput input(config, 2, 6, ranks * tokens / 12, ranks * audio);
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    const std::int64_t element = dtype == ltxmem::DType::f32 ? 4 : 2;
    const std::int64_t trade = (ranks - 1) * tokens * 4 * config.width() / ranks * element;
    const std::int64_t gates = (ranks - 1) * tokens * config.heads / ranks * 4;
    const std::int64_t states = (ranks - 1) * audio * (config.audio_width() + 2 * config.heads) * 4;
    const std::int64_t sound = (ranks - 1) * audio * 5 * config.audio_width() * element;
    for (const Scheme scheme : {Scheme::e1, Scheme::e2, Scheme::e4}) {
      Settings settings = trading_settings(static_cast<int>(ranks), static_cast<int>(ranks), dtype);
      settings.scheme = scheme;
      const Ran ran = run_pass(input, *checkpoint, settings);
      REQUIRE(ran.stage.ranks.size() == ranks);
      for (const RankReport& rank : ran.stage.ranks) {
        CHECK(rank.measured_message_bytes == blocks * (trade + gates + states + sound));
      }
    }
  }
}

TEST_CASE("Degrees that no grid of the ranks has are refused", "[ranks]") {
  CHECK_THROWS_WITH(Runtime(trading_settings(4, 3)),
                    Contains("a Ulysses degree of 3 among 4 ranks that share tokens, expected a divisor"));
  CHECK_THROWS_WITH(Runtime(trading_settings(2, 0)), Contains("a Ulysses degree of 0"));
  Settings tensor = trading_settings(4, 2);
  tensor.ranks.layout = RankLayout::tensor;
  CHECK_THROWS_WITH(Runtime(tensor), Contains("a Ulysses degree of 2 among 1 ranks"));
}

TEST_CASE("Heads of a group are enough for all ranks that divide them", "[ranks]") {
  CHECK(heads_per_group(32) == 4);
  CHECK(heads_per_group(32, 4) == 4);
  CHECK(heads_per_group(32, 8) == 8);
  CHECK(heads_per_group(32, 16) == 16);
  CHECK(heads_per_group(32, 7) == 32);
  CHECK(heads_per_group(4, 2) == 2);
  CHECK(heads_per_group(0, 3) == 1);
}
