// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/attention/ring_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attention/ring_attention_suite.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using test::AttentionProblem;
using test::RingCut;

constexpr double against_one_rank = 1e-6;  // fp32, relative to the norm of the result: what the library promises

AttentionProblem<float> problem(std::int64_t queries, std::int64_t keys, std::uint32_t seed = 1) {
  AttentionProblem<float> p{.queries = queries, .keys = keys, .heads = 4, .kv_heads = 2, .head_dim = 20};
  return p.randomise(seed);
}

std::vector<std::int64_t> shares(std::int64_t total, std::vector<std::int64_t> first) {
  for (const std::int64_t count : first) total -= count;
  first.push_back(total);
  return first;
}

/// Norm of the difference, relative to that of the result. Rows that see nothing have a log-sum-exp of -infinity on
/// both sides.
template <class T>
double difference(const std::vector<T>& got, const std::vector<T>& expected) {
  double apart = 0;
  double norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (got[i] == expected[i]) continue;
    const double by = test::as_double(got[i]) - test::as_double(expected[i]);
    apart += by * by;
  }
  for (const T value : expected) norm += std::isinf(value) ? 0.0 : test::as_double(value) * test::as_double(value);
  return got.size() == expected.size() && norm > 0 ? std::sqrt(apart / norm) : std::nan("");
}

/// Largest difference of two averages of the same values, which lie in [-1, 1).
double worst(const std::vector<float>& got, const std::vector<float>& expected) {
  double most = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    most = std::max(most, std::abs(test::as_double(got[i]) - test::as_double(expected[i])));
  return most;
}

TEST_CASE("a ring computes the attention of one rank", "[parallel]") {
  const auto p = problem(301, 700);
  const auto one = test::run_tiled(p);
  for (const int ranks : {1, 2, 3, 4, 7}) {
    CAPTURE(ranks);
    const auto ring = test::run_ring(p, Partition::even(301, ranks), Partition::even(700, ranks), {.key_tile = 256});
    CHECK(difference(ring.out, one.out) <= against_one_rank);
    CHECK(difference(ring.lse, one.lse) <= against_one_rank);
    CHECK(worst(ring.out, one.out) <= against_one_rank);
    CHECK(test::relative_error(ring.out, test::reference_attention(p).out) <= 2e-6);
  }
}

TEST_CASE("a ring of one rank is tiled attention, to the bit", "[parallel]") {
  const auto p = problem(301, 700);
  const auto ring = test::run_ring(p, Partition::even(301, 1), Partition::even(700, 1), {256, 256});
  CHECK(test::same_bits(ring, test::run_tiled(p)));
}

TEST_CASE("queries and keys are cut differently, and ranks may hold none of either", "[parallel]") {
  const auto p = problem(130, 520);
  const auto one = test::run_tiled(p);
  for (const auto& [q, k] :
       std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>>{{{130, 0, 0}, {0, 520, 0}},
                                                                                    {{0, 65, 65}, {1, 0, 519}},
                                                                                    {{1, 128, 1}, {520, 0, 0}},
                                                                                    {{43, 44, 43}, {100, 300, 120}}}) {
    const auto ring = test::run_ring(p, Partition::of_counts(q), Partition::of_counts(k));
    CAPTURE(q, k);
    CHECK(difference(ring.out, one.out) <= against_one_rank);
    CHECK(difference(ring.lse, one.lse) <= against_one_rank);
  }
}

TEST_CASE("no key at all gives zeros on a ring as well", "[parallel]") {
  auto p = problem(9, 0);
  const auto ring = test::run_ring(p, Partition::even(9, 3), Partition::even(0, 3));
  for (const float value : ring.out) CHECK(value == 0.0F);
  for (const float value : ring.lse) CHECK(std::isinf(value));
}

TEST_CASE("a mask shows and hides keys of every rank", "[parallel]") {
  auto p = problem(120, 400);
  p.randomise_mask(7);
  const auto gate = test::random_values<float>(120 * 4, 9);
  const auto one = test::run_tiled(p, {}, gate);
  for (const int ranks : {2, 3}) {
    for (const Partition& keys : {Partition::even(400, ranks), Partition::zigzag(400, ranks)}) {
      const auto ring = test::run_ring(p, Partition::zigzag(120, ranks), keys, {}, gate);
      CHECK(difference(ring.out, one.out) <= against_one_rank);
      CHECK(difference(ring.lse, one.lse) <= against_one_rank);
    }
  }
}

TEST_CASE("a causal ring agrees with one rank for contiguous and for balanced shards", "[parallel]") {
  for (const std::int64_t window : {0, 150}) {
    auto p = problem(611, 611, 3);
    p.causal = true;
    p.window = window;
    const auto one = test::run_tiled(p);
    for (const int ranks : {1, 2, 3, 4, 7}) {
      for (const Partition& partition :
           {Partition::even(611, ranks), Partition::zigzag(611, ranks),
            Partition::weighted(611, std::vector<double>(static_cast<std::size_t>(ranks), 1.0))}) {
        CAPTURE(window, ranks);
        const auto ring = test::run_ring(p, partition, partition, {256, 256});
        CHECK(difference(ring.out, one.out) <= against_one_rank);
        CHECK(difference(ring.lse, one.lse) <= against_one_rank);
      }
    }
  }
}

TEST_CASE("a causal ring with a mask and with empty ranks agrees too", "[parallel]") {
  auto p = problem(90, 90, 5);
  p.causal = true;
  p.randomise_mask(3);
  const auto one = test::run_tiled(p);
  const Partition uneven = Partition::of_counts(shares(90, {0, 13, 0}));
  const auto ring = test::run_ring(p, uneven, uneven);
  CHECK(difference(ring.out, one.out) <= against_one_rank);
  const auto zigzag = test::run_ring(p, Partition::zigzag(90, 4), Partition::zigzag(90, 4));
  CHECK(difference(zigzag.out, one.out) <= against_one_rank);
}

TEST_CASE("a zigzag gives every rank of a causal ring the same work", "[parallel]") {
  const auto flops = [](const Partition& partition, int rank) {
    DryRunBackend dry(CpuBackend<>::Target{1});
    PlannedCommunicator ranks(rank, partition.ranks());
    Arena arena = Arena::make_virtual();
    const auto rows = arena.take<bfloat16, 2>("q", {partition.count(rank), 64});
    test::ring_body<bfloat16>(dry, ranks, rows, rows, rows, rows, partition, partition, {.heads = 1, .causal = true},
                              arena, {});
    return dry.record().totals().flops;
  };
  const double fair = flops(Partition::zigzag(8192, 1), 0) / 4;
  for (int rank = 0; rank < 4; ++rank) CHECK(flops(Partition::zigzag(8192, 4), rank) == Approx(fair).epsilon(0.02));
  CHECK(flops(Partition::even(8192, 4), 3) > 1.5 * fair);
}

TEST_CASE("the same ring gives the same bits every time, whatever the tiles and the threads", "[parallel]") {
  const auto p = problem(301, 700);
  const Partition queries = Partition::of_counts(shares(301, {100, 0, 17}));
  const Partition keys = Partition::of_counts(shares(700, {300, 1, 256}));
  const auto first = test::run_ring(p, queries, keys);
  for (int turn = 0; turn < 5; ++turn) CHECK(test::same_bits(test::run_ring(p, queries, keys), first));
  CHECK(test::same_bits(test::run_ring(p, queries, keys, {256, 256, 2}), first));
}

TEST_CASE("the error of a ring in bf16 does not grow with its length", "[parallel]") {
  AttentionProblem<bfloat16> p{.queries = 64, .keys = 1024, .heads = 2, .kv_heads = 2, .head_dim = 32};
  p.randomise(4);
  const auto truth = test::reference_attention(p).out;
  const double one = test::relative_error(test::run_tiled(p).out, truth);
  CHECK(one <= test::rounding<bfloat16>);
  for (const int ranks : {2, 4, 8, 16}) {
    CAPTURE(ranks);
    const auto ring = test::run_ring(p, Partition::even(64, ranks), Partition::even(1024, ranks));
    CHECK(test::relative_error(ring.out, truth) <= 1.05 * one);
  }
}

// ------------------------------------------------------------------------------------------------------------ memory

TEST_CASE("a rank of a ring holds two shards and its own part", "[parallel]") {
  const Partition tokens = Partition::even(8 * 512, 8);
  const TiledAttentionOptions options{.heads = 4, .query_tile = 256, .key_tile = 256};
  const std::int64_t head_dim = 64;
  const std::size_t shard = 512 * 2 * 4 * 64 * sizeof(bfloat16);
  const std::size_t state = 512 * 4 * (64 + 2) * sizeof(float);
  const CpuBackend<> backend;
  AttentionTile<bfloat16> tile;
  tile.heads = tile.kv_heads = 4;
  tile.q = {nullptr, {256, 256}};
  tile.k = tile.v = tile.q;
  for (int rank = 0; rank < 8; ++rank) {
    const auto plan = test::plan_ring<bfloat16>(rank, tokens, tokens, head_dim, options);
    CHECK(plan.peak == 2 * shard + state + backend.attention_workspace_bytes(tile));
  }
}

TEST_CASE("slots are as large as what they will hold, not as the largest shard anywhere", "[parallel]") {
  using Store = RingRowStore<float, SingleRank>;
  const std::vector<std::int64_t> counts{640, 64, 128};
  CHECK(Store::workspace_bytes(counts, 0, 4) == (640 + 128) * 16);  // 0 and 1 in one slot, 2 in the other
  CHECK(Store::workspace_bytes(counts, 1, 4) == (128 + 640) * 16);
  CHECK(Store::workspace_bytes(std::vector<std::int64_t>{64}, 0, 4) == 64 * 16);
}

TEST_CASE("a thousand ranks are planned one by one", "[parallel]") {
  const Partition tokens = Partition::even(614000, 1024);
  const TiledAttentionOptions options{.heads = 32, .query_tile = 1024, .key_tile = 4096};
  const auto plan = test::plan_ring<bfloat16>(77, tokens, tokens, 128, options);
  CHECK(plan.traffic.messages == 1023);
  CHECK(plan.traffic.sent_bytes == (614000 - tokens.count(78)) * 2 * 4096 * 2);
}

TEST_CASE("the next hop is under way while a shard is worked on", "[parallel]") {
  DryRunBackend dry(CpuBackend<>::Target{1});
  const Partition tokens = Partition::even(4096, 4);
  PlannedCommunicator ranks(0, 4);
  Arena arena = Arena::make_virtual();
  const auto rows = arena.take<bfloat16, 2>("q", {1024, 64});
  test::ring_body<bfloat16>(dry, ranks, rows, rows, rows, rows, tokens, tokens, {.heads = 1}, arena, {});
  std::string order;
  for (const Record::Entry& entry : dry.record().entries()) {
    if (entry.queue == WorkQueue::network) order += "m";
    if (std::string(entry.operation) == "attention") order += "a";
  }
  CHECK(order == "mamamaa");
}

// --------------------------------------------------------------------------------------------------------- refusals

TEST_CASE("ring attention refuses what does not fit, naming it, before anything is sent", "[parallel]") {
  DryRunBackend dry(CpuBackend<>::Target{1});
  using Dry = DryRunBackend<CpuBackend<>::Target>;
  PlannedCommunicator ranks(1, 2);
  Arena arena = Arena::make_virtual();
  const Partition tokens = Partition::even(7, 2);
  const auto rows = arena.take<float, 2>("rows", {4, 8});
  const RingAttention<float, Dry, PlannedCommunicator> attention({.heads = 2});
  RingRowStore<float, PlannedCommunicator> store(ranks, tokens.counts(), 16, arena);
  RingRowStore<float, PlannedCommunicator> narrow(ranks, tokens.counts(), 8, arena);
  const auto says = [&](auto& kv, TensorView<const float, 2> q, const Partition& queries, const Partition& keys,
                        const AttentionExtras& extras, const std::string& text) {
    CHECK_THROWS_WITH(attention(dry, q, kv, queries, keys, rows, arena, extras), text);
  };
  says(store, rows.rows(0, 3), tokens, tokens, {}, "ring_attention: rank 1 with 3 queries, expected 4");
  says(narrow, rows, tokens, tokens, {}, "ring_attention: rows of the store 8, expected 16");
  says(store, rows, Partition::even(7, 3), tokens, {}, "ring_attention: queries of 3 ranks, keys of 2, a store of 2");
  says(store, rows, tokens, Partition::even(8, 2), {}, "ring_attention: the store's counts are not those of the keys");
  AttentionExtras extras;
  extras.mask = rows;
  says(store, rows, tokens, tokens, extras, "ring_attention: mask 4 x 8, expected 4 x 7");
  extras = {};
  extras.gate = rows;
  says(store, rows, tokens, tokens, extras, "ring_attention: gate 4 x 8, expected 4 x 2");
  extras = {};
  extras.query_begin = 256;
  says(store, rows, tokens, tokens, extras,
       "ring_attention: positions are those of the partitions, expected query_begin and key_begin 0");
  CHECK(ranks.traffic() == Traffic{});
  attention(dry, rows, store, tokens, tokens, rows, arena);
  says(store, rows, tokens, tokens, {}, "ring_attention: the store has gone round already, 1 hops");
}

TEST_CASE("a ring store refuses hops out of order", "[parallel]") {
  DryRunBackend dry(CpuBackend<>::Target{1});
  PlannedCommunicator ranks(0, 2);
  Arena arena = Arena::make_virtual();
  const std::vector<std::int64_t> counts{3, 4};
  RingRowStore<float, PlannedCommunicator> store(ranks, counts, 2, arena);
  CHECK(store.owner() == 0);
  CHECK(store.local().extent(0) == 3);
  CHECK_THROWS_AS(store.advance(dry), ShapeError);
  store.start(dry);
  CHECK_THROWS_AS(store.start(dry), ShapeError);
  CHECK_THROWS_AS(store.local(), ShapeError);
  store.advance(dry);
  CHECK(store.owner() == 1);
  CHECK(store.rows().extent(0) == 4);
  CHECK_THROWS_AS(store.start(dry), ShapeError);
  const std::vector<std::int64_t> three{1, 1, 1};
  CHECK_THROWS_AS((RingRowStore<float, PlannedCommunicator>(ranks, three, 2, arena)), ShapeError);
}

}  // namespace
}  // namespace ltxmem
