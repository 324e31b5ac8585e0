// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Attention with the layer behind it, on one rank and shared by two in every layout: keys and values that go round
/// (ring), tokens traded for heads (all_to_all), heads and inputs of the layer (tensor). Every rank is a thread, and
/// one rank alone has as many threads as there are ranks, so that all compute on the same cores.
///
/// own_keys is the ring without its messages: every rank takes its own keys once for each rank. What the ring takes
/// longer is what of its messages nothing hides.
///
/// Counters: flop/s, link_bytes (that a rank sends or receives, whichever is more), peak_bytes (workspace of a rank),
/// check (see values.hpp; that of own_keys is of another result).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/attention/ulysses_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "shapes.hpp"
#include "values.hpp"

#if defined(LTXMEM_BENCH_HIGHWAY)
#include "ltxmem/backend/cpu/highway_attention.hpp"
#endif
#if defined(LTXMEM_BENCH_ONEDNN)
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#endif

namespace {

using namespace ltxmem;

#if defined(LTXMEM_BENCH_HIGHWAY)
using Kernel = HighwayAttention;
#else
using Kernel = PortableAttention;
#endif
#if defined(LTXMEM_BENCH_ONEDNN)
using Gemm = OneDnnGemm;
#else
using Gemm = PortableGemm;
#endif
using Backend = CpuBackend<Gemm, Kernel>;

enum class Layout { one_rank, ring, own_keys, all_to_all, tensor };

/// Operands of the whole, and the result.
template <class T>
struct Problem {
  explicit Problem(const bench::Shape& given)
      : shape(given),
        q(bench::some_values<T>(given.tokens * given.width, 1)),
        k(bench::some_values<T>(given.tokens * given.width, 2)),
        v(bench::some_values<T>(given.tokens * given.width, 3)),
        weights(bench::some_values<T>(given.width * given.width, 4, 0.02F)),
        y(q.size()) {}

  TensorView<const T, 2> view(const std::vector<T>& values) const {
    return {values.data(), {shape.tokens, shape.width}};
  }
  TensorView<T, 2> result() { return {y.data(), {shape.tokens, shape.width}}; }
  DenseLinear layer() const { return DenseLinear(TensorView<const T, 2>(weights.data(), {shape.width, shape.width})); }

  bench::Shape shape;
  std::vector<T> q;
  std::vector<T> k;
  std::vector<T> v;
  std::vector<T> weights;
  std::vector<T> y;
};

/// The work of one rank; y is the result of all, of which it writes its rows, or in layout tensor its copy.
template <class T>
void work(Layout layout, Backend& backend, ThreadCommunicator& ranks, const Problem<T>& problem, TensorView<T, 2> y,
          Arena& arena) {
  const auto scope = arena.scope();
  const bench::Shape& shape = problem.shape;
  const TiledAttentionOptions all_heads{.heads = shape.heads};
  const Partition tokens = Partition::even(shape.tokens, ranks.size());
  const Segment own = tokens.segment(ranks.rank());
  const auto q = problem.view(problem.q);
  const auto k = problem.view(problem.k);
  const auto v = problem.view(problem.v);

  if (layout == Layout::tensor) {
    const Partition heads = Partition::even(shape.heads, ranks.size());
    const Partition channels = heads.times(shape.head_dim);
    const Segment mine = channels.segment(ranks.rank());
    const auto columns = [&](TensorView<const T, 2> rows) { return rows.columns(mine.begin, mine.count); };
    const auto attended = arena.take<T, 2>("attended", {shape.tokens, mine.count});
    const TiledAttention<T, Backend> attention({.heads = heads.count(ranks.rank())});
    attention(backend, columns(q), columns(k), columns(v), attended, arena);
    TensorParallelLinear<DenseLinear, ThreadCommunicator>::by_inputs(problem.layer(), channels, ranks)
        .template apply<T>(backend, attended, LinearEpilogue<T>{}, y, arena);
    return;
  }
  const auto rows = [&](TensorView<const T, 2> whole) { return whole.rows(own.begin, own.count); };
  const auto attended = arena.take<T, 2>("attended", {own.count, shape.width});
  if (layout == Layout::all_to_all) {
    SingleRank alone;
    UlyssesAttention<T, Backend, ThreadCommunicator>{all_heads}(backend, ranks, alone, rows(q), rows(k), rows(v),
                                                                tokens, tokens, attended, arena);
  } else if (layout == Layout::one_rank) {
    TiledAttention<T, Backend>{all_heads}(backend, q, k, v, attended, arena);
  } else if (layout == Layout::own_keys) {
    OnlineSoftmax<Backend> state(backend, arena, own.count, shape.heads, shape.head_dim);
    for (int rank = 0; rank < ranks.size(); ++rank) {
      TiledAttention<T, Backend>{all_heads}.accumulate(backend, rows(q), rows(k), rows(v), state.view(), arena);
    }
    state.template finalize<T>(attended, {});
  } else {
    RingRowStore<T, ThreadCommunicator> ring(ranks, tokens.counts(), 2 * shape.width, arena);
    backend.template copy<T, T>(rows(k), ring.local().columns(0, shape.width));
    backend.template copy<T, T>(rows(v), ring.local().columns(shape.width, shape.width));
    RingAttention<T, Backend, ThreadCommunicator>{all_heads}(backend, rows(q), ring, tokens, tokens, attended, arena);
  }
  problem.layer().template apply<T>(backend, TensorView<const T, 2>(attended), LinearEpilogue<T>{},
                                    y.rows(own.begin, own.count), arena);
}

template <class T>
void layouts(benchmark::State& state, const bench::Shape& shape, Layout layout) {
  constexpr int cores = 2;
  const int ranks = layout == Layout::one_rank ? 1 : cores;
  Problem<T> problem(shape);
  std::vector<T> copy(layout == Layout::tensor ? problem.y.size() : 0);
  HostResource host;
  std::deque<Backend> backends;
  std::deque<Arena> arenas;
  for (int rank = 0; rank < ranks; ++rank) {
    backends.emplace_back(CpuOptions{.threads = cores / ranks});
    arenas.emplace_back(host, std::size_t{1} << 30);
  }
  std::int64_t link_bytes = 0;
  std::mutex mutex;
  const auto run = [&] {
    ThreadGroup group(ranks);
    run_on_threads(group, [&](int rank) {
      const auto own = static_cast<std::size_t>(rank);
      ThreadCommunicator communicator(group, rank);
      // Every rank has the whole result in layout tensor; two threads may not write the same one.
      const auto y = rank > 0 && layout == Layout::tensor ? TensorView<T, 2>(copy.data(), {shape.tokens, shape.width})
                                                          : problem.result();
      work(layout, backends[own], communicator, problem, y, arenas[own]);
      const std::lock_guard lock(mutex);
      link_bytes = std::max(link_bytes, communicator.traffic().link_bytes);
    });
  };
  run();
  for ([[maybe_unused]] auto _ : state) run();
  const auto elements = static_cast<double>(shape.tokens * shape.width);
  const double flops = elements * (4.0 * static_cast<double>(shape.tokens) + 2.0 * static_cast<double>(shape.width));
  state.counters["flop/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  state.counters["link_bytes"] = static_cast<double>(link_bytes);
  std::size_t peak = 0;
  for (const Arena& arena : arenas) peak = std::max(peak, arena.peak_bytes());
  state.counters["peak_bytes"] = static_cast<double>(peak);
  state.counters["check"] = bench::projection(problem.y);
}

template <class T>
void add(const std::string& type, const bench::Shape& shape) {
  struct Named {
    const char* name;
    Layout layout;
  };
  for (const Named& named :
       {Named{"one_rank", Layout::one_rank}, Named{"ring", Layout::ring}, Named{"own_keys", Layout::own_keys},
        Named{"all_to_all", Layout::all_to_all}, Named{"tensor", Layout::tensor}}) {
    benchmark::RegisterBenchmark(
        ("layouts/" + type + "/" + shape.name + "/" + named.name).c_str(),
        [shape, layout = named.layout](benchmark::State& state) { layouts<T>(state, shape, layout); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime()
        ->Iterations(3);
  }
}

const bool registered = [] {
  add<float>("f32", bench::ltx2_video_long);
  add<bfloat16>("bf16", bench::ltx2_video_long);
  return true;
}();

}  // namespace
