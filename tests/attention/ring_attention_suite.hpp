// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "attention/shards.hpp"
#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/parallel/planned_communicator.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "parallel/communicator_suite.hpp"

/// Running a problem through RingAttention on ranks that are threads, and each rank in a dry run beside it.

namespace ltxmem::test {

struct RingCut {
  std::int64_t query_tile = 0;
  std::int64_t key_tile = 0;
  int threads = 1;
};

/// The same body for both: own keys and values into the store, then the attention.
template <class T, class Backend, class Ranks>
void ring_body(Backend& backend, Ranks& ranks, TensorView<const T, 2> q, TensorView<const T, 2> k,
               TensorView<const T, 2> v, TensorView<T, 2> out, const Partition& queries, const Partition& keys,
               const TiledAttentionOptions& options, Arena& arena, const AttentionExtras& extras) {
  const auto scope = arena.scope();
  RingRowStore<T, Ranks> store(ranks, keys.counts(), 2 * k.extent(1), arena);
  backend.copy(k, store.local().columns(0, k.extent(1)));
  backend.copy(v, store.local().columns(k.extent(1), k.extent(1)));
  const RingAttention<T, Backend, Ranks> attention(options);
  attention(backend, q, store, queries, keys, out, arena, extras);
}

template <class T>
struct RingPlan {
  std::size_t peak = 0;
  Traffic traffic{};
  std::int64_t message_bytes = 0;
};

template <class T>
RingPlan<T> plan_ring(int rank, const Partition& queries, const Partition& keys, std::int64_t head_dim,
                      const TiledAttentionOptions& options, int threads = 1) {
  DryRunBackend dry(CpuBackend<>::Target{threads});
  PlannedCommunicator ranks(rank, keys.ranks());
  Arena arena = Arena::make_virtual();
  Arena data = Arena::make_virtual();
  const std::int64_t kv_width = (options.kv_heads == 0 ? options.heads : options.kv_heads) * head_dim;
  const auto q = data.take<T, 2>("q", {queries.count(rank), options.heads * head_dim});
  const auto k = data.take<T, 2>("k", {keys.count(rank), kv_width});
  const auto v = data.take<T, 2>("v", {keys.count(rank), kv_width});
  ring_body<T>(dry, ranks, q, k, v, q, queries, keys, options, arena, {});
  return {arena.peak_bytes(), ranks.traffic(), dry.record().totals().message_bytes};
}

/// The whole result; checks on every rank that the peak is the planned one to the byte, and so the traffic.
template <class T>
AttentionOutput<T> run_ring(const AttentionProblem<T>& p, const Partition& queries, const Partition& keys,
                            const RingCut& cut = {}, const std::vector<float>& gate = {}) {
  using Backend = CpuBackend<>;
  using Ring = RingAttention<T, Backend, ThreadCommunicator>;
  using Store = RingRowStore<T, ThreadCommunicator>;
  const TiledAttentionOptions options = options_of(p, {.query_tile = cut.query_tile, .key_tile = cut.key_tile});
  AttentionOutput<T> whole;
  whole.out.resize(p.q.size());
  whole.lse.resize(static_cast<std::size_t>(p.queries * p.heads));
  std::mutex mutex;
  ThreadGroup group(keys.ranks());
  run_on_threads(group, [&](int rank) {
    Backend backend(CpuOptions{.threads = cut.threads});
    ThreadCommunicator ranks(group, rank);
    Shard<T> shard(p, gate, queries, keys, rank);
    const std::size_t bytes = Store::workspace_bytes(keys.counts(), rank, 2 * shard.kv_width) +
                              Ring::workspace_bytes(backend, rank, queries, keys, p.head_dim, options);
    HostResource host;
    CountingResource counting(host);
    {
      Arena arena(counting, bytes);
      ring_body<T>(backend, ranks, shard.q_view(), shard.k_view(), shard.v_view(), shard.out_view(), queries, keys,
                   options, arena, shard.extras());
      must(arena.peak_bytes() == bytes,
           "ring: peak " + std::to_string(arena.peak_bytes()) + ", formula " + std::to_string(bytes));
    }
    must(counting.peak_bytes() == bytes, "ring: counted peak differs");
    const RingPlan<T> plan = plan_ring<T>(rank, queries, keys, p.head_dim, options, cut.threads);
    must(plan.peak == bytes, "ring: planned peak " + std::to_string(plan.peak) + ", formula " + std::to_string(bytes));
    must(plan.traffic == ranks.traffic(), "ring: planned traffic differs");
    must(plan.message_bytes == ranks.traffic().link_bytes, "ring: recorded traffic differs");
    const std::int64_t row_bytes = 2 * shard.kv_width * static_cast<std::int64_t>(sizeof(T));
    const std::int64_t kept = keys.count((rank + 1) % keys.ranks());
    must(ranks.traffic().sent_bytes == (keys.ranks() == 1 ? 0 : (keys.total() - kept) * row_bytes),
         "ring: traffic differs from the formula");
    const std::lock_guard lock(mutex);
    put_shard(shard.result.out, shard.width, queries, rank, whole.out);
    put_shard(shard.result.lse, p.heads, queries, rank, whole.lse);
  });
  return whole;
}

}  // namespace ltxmem::test
