// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/attention/ulysses_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "attention/shards.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/parallel/planned_communicator.hpp"
#include "ltxmem/parallel/rank_group.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "parallel/communicator_suite.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using test::AttentionProblem;
using test::must;
using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;
static_assert(Communicator<RankGroup<ThreadTransport>, Cpu> && Communicator<RankGroup<PlannedTransport>, Dry>);

constexpr double against_one_rank = 1e-6;

/// Two communicators of a rank in a grid of rows of `width`: heads within the row, the ring across.
template <class World>
struct Grid {
  Grid(World& world, int width)
      : shape(world.rank(), world.size(), width), heads(world, shape.row), ring(world, shape.column) {}

  RankGrid shape;
  decltype(RankGroup(std::declval<World&>(), std::vector<int>())) heads;
  decltype(RankGroup(std::declval<World&>(), std::vector<int>())) ring;
};

template <class T>
struct Setup {
  Partition queries;
  Partition keys;
  int width;  ///< of a row of ranks
  TiledAttentionOptions options;
};

/// Peak and traffic of one rank in a dry run.
template <class T>
std::pair<std::size_t, Traffic> plan(const Setup<T>& setup, int rank, std::int64_t head_dim, bool gated, bool masked) {
  using Group = RankGroup<PlannedTransport>;
  Dry dry(Cpu::Target{1});
  PlannedCommunicator world(rank, setup.keys.ranks());
  Grid grid(world, setup.width);
  Arena arena = Arena::make_virtual();
  Arena data = Arena::make_virtual();
  const std::int64_t rows = setup.queries.count(rank);
  const auto q = data.take<T, 2>("q", {rows, setup.options.heads * head_dim});
  const auto k = data.take<T, 2>("k", {setup.keys.count(rank), setup.options.kv_heads * head_dim});
  AttentionExtras extras;
  extras.natural_lse = data.take<float, 2>("lse", {rows, setup.options.heads});
  if (gated) extras.gate = data.take<float, 2>("gate", {rows, setup.options.heads});
  if (masked) extras.mask = data.take<float, 2>("mask", {rows, setup.keys.total()});
  const UlyssesAttention<T, Dry, Group, Group> attention(setup.options);
  attention(dry, grid.heads, grid.ring, q, k, k, setup.queries, setup.keys, q, arena, extras);
  const Traffic heads = grid.heads.traffic();
  const Traffic ring = grid.ring.traffic();
  must(dry.record().totals().message_bytes == heads.link_bytes + ring.link_bytes, "recorded traffic differs");
  return {arena.peak_bytes(), heads};
}

template <class T>
test::AttentionOutput<T> run(const AttentionProblem<T>& p, const Partition& queries, const Partition& keys, int width,
                             const std::vector<float>& gate = {}) {
  using Group = RankGroup<ThreadTransport>;
  const Setup<T> setup{queries, keys, width, test::options_of(p, {256, 256})};
  test::AttentionOutput<T> whole;
  whole.out.resize(p.q.size());
  whole.lse.resize(static_cast<std::size_t>(p.queries * p.heads));
  std::mutex mutex;
  ThreadGroup group(keys.ranks());
  run_on_threads(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator world(group, rank);
    Grid grid(world, width);
    test::Shard<T> shard(p, gate, queries, keys, rank);
    AttentionExtras extras = shard.extras();
    if (!gate.empty()) extras.gate = TensorView<const float, 2>(shard.gate.data(), {shard.rows, p.heads});
    if (!p.mask.empty()) extras.mask = TensorView<const float, 2>(shard.mask.data(), {shard.rows, p.keys});
    using Attention = UlyssesAttention<T, Cpu, Group, Group>;
    const std::size_t bytes =
        Attention::workspace_bytes(backend, grid.heads, grid.ring, queries, keys, p.head_dim, setup.options, extras);
    HostResource host;
    CountingResource counting(host);
    {
      Arena arena(counting, bytes);
      Attention(setup.options)(backend, grid.heads, grid.ring, shard.q_view(), shard.k_view(), shard.v_view(), queries,
                               keys, shard.out_view(), arena, extras);
      must(arena.peak_bytes() == bytes,
           "peak " + std::to_string(arena.peak_bytes()) + ", formula " + std::to_string(bytes));
    }
    must(counting.peak_bytes() == bytes, "counted peak differs");
    const auto [planned, traffic] = plan(setup, rank, p.head_dim, !gate.empty(), !p.mask.empty());
    must(planned == bytes, "planned peak " + std::to_string(planned) + ", formula " + std::to_string(bytes));
    must(traffic == grid.heads.traffic(), "planned traffic differs");

    // The formula of the header, with the gate's and the log-sum-exp's rows of one float per head.
    const auto size = static_cast<std::int64_t>(sizeof(T));
    const Partition shares = Partition::even(p.kv_heads, width);
    const std::int64_t kv_heads = shares.count(rank % width);
    const std::int64_t heads = kv_heads * (p.heads / p.kv_heads);
    const std::int64_t others = queries.grouped(width).count(rank / width) - shard.rows;
    std::int64_t sent = shard.rows * (p.heads - heads) * p.head_dim * size +
                        shard.key_rows * 2 * (p.kv_heads - kv_heads) * p.head_dim * size +
                        others * heads * (p.head_dim * size + 4);
    if (!gate.empty()) sent += shard.rows * (p.heads - heads) * 4;
    if (!p.mask.empty()) sent += shard.rows * (width - 1) * p.keys * 4;
    must(traffic.sent_bytes == sent,
         "sent " + std::to_string(traffic.sent_bytes) + ", formula " + std::to_string(sent));
    must(traffic.collectives == 4 + (gate.empty() ? 0 : 1) + (p.mask.empty() ? 0 : 1), "number of collectives");
    must(grid.ring.traffic().collectives == 0, "the ring issued a collective");

    const std::lock_guard lock(mutex);
    test::put_shard(shard.result.out, shard.width, queries, rank, whole.out);
    test::put_shard(shard.result.lse, p.heads, queries, rank, whole.lse);
  });
  return whole;
}

AttentionProblem<float> problem(std::int64_t queries, std::int64_t keys, std::int64_t heads = 6,
                                std::int64_t kv_heads = 3) {
  AttentionProblem<float> p{.queries = queries, .keys = keys, .heads = heads, .kv_heads = kv_heads, .head_dim = 12};
  return p.randomise(1);
}

double difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (got[i] == expected[i]) continue;
    worst = std::max(worst, std::abs(test::as_double(got[i]) - test::as_double(expected[i])));
  }
  return got.size() == expected.size() ? worst : std::nan("");
}

TEST_CASE("trading tokens for heads has the bits of one rank, for any number of heads", "[parallel]") {
  for (const auto& [heads, kv_heads] : std::vector<std::pair<int, int>>{{6, 3}, {5, 5}, {1, 1}, {7, 7}, {4, 2}}) {
    const auto p = problem(101, 300, heads, kv_heads);
    const auto one = test::run_tiled(p);
    for (const int ranks : {1, 2, 3, 4, 7}) {
      CAPTURE(heads, kv_heads, ranks);
      CHECK(test::same_bits(run(p, Partition::even(101, ranks), Partition::even(300, ranks), ranks), one));
    }
  }
}

TEST_CASE("tokens are shared exactly and unevenly, and some ranks have none", "[parallel]") {
  const auto p = problem(101, 300);
  const auto one = test::run_tiled(p);
  for (const auto& [q, k] : std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>>{
           {{101, 0, 0}, {0, 300, 0}}, {{0, 50, 51}, {1, 0, 299}}, {{1, 99, 1}, {100, 100, 100}}}) {
    CHECK(test::same_bits(run(p, Partition::of_counts(q), Partition::of_counts(k), 3), one));
  }
}

TEST_CASE("gates and masks travel with their tokens", "[parallel]") {
  auto p = problem(60, 130);
  p.randomise_mask(5);
  const auto gate = test::random_values<float>(60 * 6, 8);
  const auto one = test::run_tiled(p, {}, gate);
  const Partition uneven = Partition::of_counts(std::vector<std::int64_t>{20, 0, 40});
  CHECK(test::same_bits(run(p, Partition::even(60, 3), Partition::even(130, 3), 3, gate), one));
  CHECK(test::same_bits(run(p, uneven, Partition::even(130, 3), 3, gate), one));
  const auto grid = run(p, Partition::even(60, 6), Partition::zigzag(130, 6), 2, gate);
  CHECK(difference(grid.out, one.out) <= against_one_rank);
}

TEST_CASE("causal attention by heads is exact, zigzag or not", "[parallel]") {
  auto p = problem(200, 200);
  p.causal = true;
  const auto one = test::run_tiled(p);
  CHECK(test::same_bits(run(p, Partition::even(200, 3), Partition::even(200, 3), 3), one));
  const auto zigzag = run(p, Partition::zigzag(200, 3), Partition::zigzag(200, 3), 3);
  CHECK(difference(zigzag.out, one.out) <= against_one_rank);
}

TEST_CASE("heads within rows and a ring across them compute the attention of one rank", "[parallel]") {
  for (const bool causal : {false, true}) {
    auto p = problem(210, 210, 4, 2);
    p.causal = causal;
    const auto one = test::run_tiled(p);
    for (const auto& [ranks, width] : std::vector<std::pair<int, int>>{{4, 2}, {6, 2}, {6, 3}, {4, 4}, {4, 1}}) {
      for (const Partition& tokens : {Partition::even(210, ranks), Partition::zigzag(210, ranks)}) {
        CAPTURE(causal, ranks, width);
        const auto grid = run(p, tokens, tokens, width);
        CHECK(difference(grid.out, one.out) <= against_one_rank);
        CHECK(difference(grid.lse, one.lse) <= 2e-6);
      }
    }
  }
}

TEST_CASE("the same grid gives the same bits every time", "[parallel]") {
  const auto p = problem(101, 300);
  const auto first = run(p, Partition::even(101, 6), Partition::even(300, 6), 2);
  for (int turn = 0; turn < 3; ++turn) {
    CHECK(test::same_bits(run(p, Partition::even(101, 6), Partition::even(300, 6), 2), first));
  }
}

TEST_CASE("bf16 travels as it is", "[parallel]") {
  AttentionProblem<bfloat16> p{.queries = 64, .keys = 300, .heads = 4, .kv_heads = 4, .head_dim = 16};
  p.randomise(2);
  CHECK(test::same_bits(run(p, Partition::even(64, 3), Partition::even(300, 3), 3), test::run_tiled(p)));
}

TEST_CASE("ulysses attention refuses what does not fit before anything is sent", "[parallel]") {
  using Group = RankGroup<PlannedTransport>;
  Dry dry(Cpu::Target{1});
  PlannedCommunicator world(1, 4);
  Grid grid(world, 2);
  Arena arena = Arena::make_virtual();
  const Partition tokens = Partition::even(16, 4);
  const auto rows = arena.take<float, 2>("rows", {4, 8});
  const UlyssesAttention<float, Dry, Group, Group> attention({.heads = 2});
  const auto says = [&](TensorView<const float, 2> q, TensorView<const float, 2> k, const Partition& queries,
                        const AttentionExtras& extras, const std::string& text) {
    CHECK_THROWS_WITH(attention(dry, grid.heads, grid.ring, q, k, k, queries, tokens, rows, arena, extras), text);
  };
  says(rows.rows(0, 3), rows, tokens, {}, "ulysses_attention: 3 queries, expected 4");
  says(rows, rows.rows(0, 3), tokens, {}, "ulysses_attention: keys 3 x 8, expected 4 x 8");
  says(rows.columns(0, 7), rows, tokens, {}, "ulysses_attention: query width 7 does not hold 2 heads");
  says(rows, rows, Partition::even(16, 3), {}, "ulysses_attention: a partition over 3 ranks, expected 2 x 2");
  AttentionExtras extras;
  extras.gate = rows;
  says(rows, rows, tokens, extras, "ulysses_attention: gate 4 x 8, expected 4 x 2");
  extras = {};
  extras.mask = rows;
  says(rows, rows, tokens, extras, "ulysses_attention: mask 4 x 8, expected 4 x 16");
  CHECK(grid.heads.traffic() == Traffic{});
}

}  // namespace
}  // namespace ltxmem
