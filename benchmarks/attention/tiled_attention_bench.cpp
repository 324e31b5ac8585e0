// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Attention at the widths of LTX-2 against tile sizes, beside one tile of everything (query_tile 0, key_tile 0).
///
/// Counters: flop/s, peak_bytes (everything that went through the resource: the workspace, and the slots of stores in
/// host memory; not the operands), check (see values.hpp).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/stores/host_row_store.hpp"
#include "shapes.hpp"
#include "values.hpp"

#if defined(LTXMEM_BENCH_HIGHWAY)
#include "ltxmem/backend/cpu/highway_attention.hpp"
#endif

namespace {

using namespace ltxmem;

using bench::some_values;

enum class Placement { resident, host };

/// Arguments of a run: query_tile, key_tile, threads.
template <class T, class Kernel>
void attention(benchmark::State& state, const bench::Shape& queries, const bench::Shape& keys, Placement placement) {
  using Backend = CpuBackend<PortableGemm, Kernel>;
  // Cross attention runs at the narrower of both streams.
  const std::int64_t head_dim = std::min(queries.head_dim, keys.head_dim);
  const std::int64_t width = queries.heads * head_dim;
  const TiledAttentionOptions options{.heads = queries.heads, .query_tile = state.range(0), .key_tile = state.range(1)};
  const TiledAttention<T, Backend> tiled(options);
  Backend backend({.threads = static_cast<int>(state.range(2))});
  const std::vector<T> q = some_values<T>(queries.tokens * width, 1);
  std::vector<T> k = some_values<T>(keys.tokens * width, 2);
  std::vector<T> v = some_values<T>(keys.tokens * width, 3);
  std::vector<T> out(q.size());
  const TensorView<const T, 2> q_view(q.data(), {queries.tokens, width});
  const TensorView<T, 2> k_view(k.data(), {keys.tokens, width});
  const TensorView<T, 2> v_view(v.data(), {keys.tokens, width});
  const TensorView<T, 2> out_view(out.data(), {queries.tokens, width});

  using Store = HostRowStore<T, Backend>;
  const std::int64_t tile = tiled.key_tile(keys.tokens);
  const std::size_t slot_bytes = placement == Placement::host ? 2 * Store::workspace_bytes(tile, width) : 0;
  HostResource host;
  CountingResource counting(host);
  Arena arena(counting, slot_bytes + TiledAttention<T, Backend>::workspace_bytes(
                                         backend, {queries.tokens, keys.tokens, head_dim}, options));
  const auto run = [&] {
    const auto scope = arena.scope();
    if (placement == Placement::host) {
      Store key_store(backend, k_view, arena, tile);
      Store value_store(backend, v_view, arena, tile);
      tiled(backend, q_view, key_store, value_store, out_view, arena);
    } else {
      tiled(backend, q_view, k_view, v_view, out_view, arena);
    }
    benchmark::ClobberMemory();
  };
  run();  // short runs are not to be the price of pages touched for the first time
  for ([[maybe_unused]] auto _ : state) run();
  const double flops = 4.0 * static_cast<double>(queries.tokens) * static_cast<double>(keys.tokens * width);
  state.counters["flop/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  state.counters["peak_bytes"] = static_cast<double>(counting.peak_bytes());
  state.counters["check"] = bench::projection(out);
}

template <class T, class Kernel>
void add(const std::string& name, const bench::Shape& queries, const bench::Shape& keys, Placement placement,
         const std::vector<std::vector<std::int64_t>>& runs) {
  auto* added = benchmark::RegisterBenchmark(
      ("attention/" + name + "/" + queries.name + "_on_" + keys.name +
       (placement == Placement::host ? "/host_store" : ""))
          .c_str(),
      [queries, keys, placement](benchmark::State& state) { attention<T, Kernel>(state, queries, keys, placement); });
  added->ArgNames({"query_tile", "key_tile", "threads"})->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(3);
  for (const std::vector<std::int64_t>& run : runs) added->Args(run);
}

const bool registered = [] {
  using bench::heads_of_64;
  using bench::ltx2_audio;
  using bench::ltx2_video;
  using bench::ltx2_video_long;
  [[maybe_unused]] const std::vector<std::vector<std::int64_t>> tilings{
      {0, 0, 1}, {0, 0, 2}, {256, 0, 2}, {512, 0, 2}, {1024, 0, 2}, {0, 256, 2}, {0, 1024, 2}, {512, 512, 2}};
#if defined(LTXMEM_BENCH_HIGHWAY)
  add<float, HighwayAttention>("highway/f32", ltx2_video, ltx2_video, Placement::resident, tilings);
  add<bfloat16, HighwayAttention>("highway/bf16", ltx2_video, ltx2_video, Placement::resident, tilings);
  add<bfloat16, HighwayAttention>("highway/bf16", ltx2_video, ltx2_video, Placement::host,
                                  {{0, 512, 2}, {512, 512, 2}, {1024, 1024, 2}});
  add<float, HighwayAttention>("highway/f32", ltx2_audio, ltx2_video, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
  add<bfloat16, HighwayAttention>("highway/bf16", ltx2_audio, ltx2_video, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
  add<bfloat16, HighwayAttention>("highway/bf16", ltx2_video, ltx2_audio, Placement::resident, {{0, 0, 2}});
  for (const bench::Shape& shape : {ltx2_video_long, heads_of_64}) {
    add<float, HighwayAttention>("highway/f32", shape, shape, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
    add<bfloat16, HighwayAttention>("highway/bf16", shape, shape, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
  }
  add<float, HighwayAttention>("highway/f32", ltx2_audio, heads_of_64, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
  add<bfloat16, HighwayAttention>("highway/bf16", ltx2_audio, heads_of_64, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
#endif
  add<float, PortableAttention>("portable/f32", ltx2_video, ltx2_video, Placement::resident, {{0, 0, 1}, {0, 0, 2}});
  add<bfloat16, PortableAttention>("portable/bf16", ltx2_video, ltx2_video, Placement::resident,
                                   {{0, 0, 2}, {512, 512, 2}});
  return true;
}();

}  // namespace
