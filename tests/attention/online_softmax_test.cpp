// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/attention/online_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "backend/cpu/attention_suite.hpp"
#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using State = OnlineSoftmax<Cpu>;
using test::AttentionOutput;
using test::AttentionProblem;

constexpr std::int64_t rows = 9;
constexpr std::int64_t heads = 2;
constexpr std::int64_t head_dim = 12;

AttentionProblem<float> problem(std::int64_t keys, std::uint32_t seed) {
  AttentionProblem<float> p{.queries = rows, .keys = keys, .heads = heads, .kv_heads = heads, .head_dim = head_dim};
  return p.randomise(seed);
}

struct Fixture {
  Cpu backend{CpuOptions{.threads = 2}};
  HostResource resource;
  Arena arena{resource, std::size_t{1} << 24};

  State fresh() { return State(backend, arena, rows, heads, head_dim); }

  /// The state of keys [begin, begin + count) of a problem.
  State seen(const AttentionProblem<float>& p, std::int64_t begin, std::int64_t count) {
    State state = fresh();
    append(state, p, begin, count);
    return state;
  }

  void append(State& state, const AttentionProblem<float>& p, std::int64_t begin, std::int64_t count) {
    AttentionTile<float> tile = test::tile_of(p);
    tile.k = tile.k.rows(begin, count);
    tile.v = tile.v.rows(begin, count);
    if (!p.mask.empty()) tile.mask = tile.mask.columns(begin, count);
    state.append(tile, arena);
  }

  AttentionOutput<float> finalized(const State& state) {
    AttentionOutput<float> result{std::vector<float>(rows * heads * head_dim), std::vector<float>(rows * heads)};
    state.finalize(TensorView<float, 2>(result.out.data(), {rows, heads * head_dim}), {},
                   {result.lse.data(), {rows, heads}});
    return result;
  }
};

double difference(const AttentionOutput<float>& a, const AttentionOutput<float>& b) {
  double worst = 0.0;
  for (std::size_t i = 0; i < a.out.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a.out[i]) - static_cast<double>(b.out[i])));
  }
  return worst;
}

TEST_CASE("a fresh state finalizes to zeros and minus infinity") {
  Fixture f;
  const auto result = f.finalized(f.fresh());
  for (const float value : result.out) CHECK(value == 0.0F);
  for (const float value : result.lse) CHECK(value == -std::numeric_limits<float>::infinity());
}

TEST_CASE("appending quanta one by one gives the bits of appending all keys") {
  Fixture f;
  const auto p = problem(700, 1);
  State state = f.fresh();
  for (const std::int64_t begin : {0, 256, 512}) f.append(state, p, begin, std::min<std::int64_t>(256, 700 - begin));
  CHECK(test::same_bits(f.finalized(state), f.finalized(f.seen(p, 0, 700))));
  test::check_against_reference(p, f.finalized(state));
}

TEST_CASE("appending tiles in another order changes rounding only") {
  Fixture f;
  const auto p = problem(1024, 2);
  const auto expected = f.finalized(f.seen(p, 0, 1024));
  std::vector<std::int64_t> order{0, 256, 512, 768};
  while (std::next_permutation(order.begin(), order.end())) {
    const auto scope = f.arena.scope();
    State state = f.fresh();
    for (const std::int64_t begin : order) f.append(state, p, begin, 256);
    CHECK(difference(f.finalized(state), expected) < 2e-6);
  }
}

TEST_CASE("a fresh state is the identity of merge, to the bit and from both sides") {
  Fixture f;
  const auto p = problem(300, 3);
  const State state = f.seen(p, 0, 300);
  const auto expected = f.finalized(state);
  State left = f.fresh();
  left.merge(state);
  CHECK(test::same_bits(f.finalized(left), expected));
  State right = f.seen(p, 0, 300);
  right.merge(f.fresh());
  CHECK(test::same_bits(f.finalized(right), expected));
}

TEST_CASE("merge is commutative to the bit") {
  Fixture f;
  const auto p = problem(300, 4);
  State ab = f.seen(p, 0, 120);
  ab.merge(f.seen(p, 120, 180));
  State ba = f.seen(p, 120, 180);
  ba.merge(f.seen(p, 0, 120));
  CHECK(test::same_bits(f.finalized(ab), f.finalized(ba)));
}

TEST_CASE("any tree of merges over any partition of the keys gives the same attention") {
  std::mt19937 random(20240601);
  const auto seed = [&random] { return static_cast<std::uint32_t>(random()); };
  for (int trial = 0; trial < 60; ++trial) {
    Fixture f;
    const std::int64_t keys = std::uniform_int_distribution<std::int64_t>(1, 200)(random);
    auto p = problem(keys, seed());
    const bool large = trial % 3 == 1;
    if (large) p.scale *= 300.0F;
    if (trial % 3 == 2) p.randomise_mask(seed());
    CAPTURE(trial, keys);

    std::vector<State> parts;
    for (std::int64_t begin = 0; begin < keys;) {
      // Empty parts, too: a rank without keys.
      const std::int64_t count = std::uniform_int_distribution<std::int64_t>(0, keys - begin)(random);
      parts.push_back(f.seen(p, begin, count));
      begin += count;
    }
    while (parts.size() > 1) {
      const std::size_t i = std::uniform_int_distribution<std::size_t>(0, parts.size() - 1)(random);
      std::swap(parts[i], parts.back());
      const State taken = parts.back();
      parts.pop_back();
      parts[std::uniform_int_distribution<std::size_t>(0, parts.size() - 1)(random)].merge(taken);
    }
    const AttentionOutput<float> got = f.finalized(parts[0]);
    const test::AttentionResult expected = test::reference_attention(p);
    // Logits of 1000 are known to 1e-4 in fp32, and weights no better than their logits.
    CHECK(test::relative_error(got.out, expected.out) < (large ? 1e-3 : 5e-6));
    for (std::size_t i = 0; i < expected.lse.size(); ++i) {
      if (std::isinf(expected.lse[i])) {
        CHECK(got.lse[i] == -std::numeric_limits<float>::infinity());
      } else {
        CHECK(static_cast<double>(got.lse[i]) == Approx(expected.lse[i]).epsilon(1e-5).margin(1e-5));
      }
    }
  }
}

TEST_CASE("rows whose keys are all hidden stay at the identity") {
  Fixture f;
  auto p = problem(256, 5);
  p.mask.assign(static_cast<std::size_t>(rows * 256), -std::numeric_limits<float>::infinity());
  State state = f.seen(p, 0, 256);
  state.merge(f.seen(p, 0, 256));
  const auto result = f.finalized(state);
  for (const float value : result.out) CHECK(value == 0.0F);
  for (const float value : result.lse) CHECK(value == -std::numeric_limits<float>::infinity());

  // What they see afterwards is all they have seen.
  const auto q = problem(100, 6);
  f.append(state, q, 0, 100);
  CHECK(test::same_bits(f.finalized(state), f.finalized(f.seen(q, 0, 100))));
}

TEST_CASE("merging states of logits ten thousand apart stays finite and keeps the larger") {
  Fixture f;
  auto high = problem(3, 7);
  high.q.assign(high.q.size(), 50.0F);
  high.k.assign(high.k.size(), 50.0F);
  high.scale = 1e4F / (50.0F * 50.0F * static_cast<float>(head_dim));
  auto low = high;
  low.scale = -high.scale;
  low.v = test::random_values<float>(static_cast<std::int64_t>(low.v.size()), 8);
  State state = f.seen(low, 0, 3);
  state.merge(f.seen(high, 0, 3));
  const auto result = f.finalized(state);
  CHECK(test::same_bits(result, f.finalized(f.seen(high, 0, 3))));
  for (const float value : result.lse) CHECK(value == Approx(1e4 + std::log(3.0)));
}

TEST_CASE("a state can be reset and used again") {
  Fixture f;
  const auto p = problem(100, 9);
  State state = f.seen(p, 0, 50);
  state.reset();
  f.append(state, p, 0, 100);
  CHECK(test::same_bits(f.finalized(state), f.finalized(f.seen(p, 0, 100))));
  CHECK(state.rows() == rows);
  CHECK(state.heads() == heads);
}

TEST_CASE("finalize leaves the state as it is") {
  Fixture f;
  const auto p = problem(512, 10);
  State state = f.seen(p, 0, 256);
  f.finalized(state);
  f.append(state, p, 256, 256);
  CHECK(test::same_bits(f.finalized(state), f.finalized(f.seen(p, 0, 512))));
}

TEST_CASE("a state takes exactly the bytes of its formula, in a dry run too") {
  Fixture f;
  CHECK(State::workspace_bytes(rows, heads, head_dim) == 1024 + 256 + 256);
  const std::size_t before = f.arena.used_bytes();
  f.fresh();
  CHECK(f.arena.used_bytes() - before == State::workspace_bytes(rows, heads, head_dim));

  using Dry = DryRunBackend<Cpu::Target>;
  Dry dry;
  Arena arena = Arena::make_virtual();
  const OnlineSoftmax<Dry> planned(dry, arena, rows, heads, head_dim);
  CHECK(arena.peak_bytes() == State::workspace_bytes(rows, heads, head_dim));
}

TEST_CASE("states of different shapes do not merge") {
  Fixture f;
  State state = f.fresh();
  const State other(f.backend, f.arena, rows + 1, heads, head_dim);
  CHECK_THROWS_AS(state.merge(other), ShapeError);
}

}  // namespace
}  // namespace ltxmem
