// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The feed-forward network of LTX-2 against the number of chunks, beside evaluating it whole (token_chunk 0).
///
/// Counters: flop/s, peak_bytes (everything that went through the resource: the workspace, neither operands nor
/// weights), chunks, the number of token chunks, and check (see values.hpp).

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "shapes.hpp"
#include "values.hpp"

#if defined(LTXMEM_BENCH_ONEDNN)
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#endif

namespace {

using namespace ltxmem;

using bench::some_values;

/// Weights of one shape, made once for all its benchmarks; bfloat16 as in the published files, or the activations'
/// type.
template <class W>
struct Weights {
  explicit Weights(const bench::Shape& shape)
      : up(some_values<W>(shape.hidden * shape.width, 1, 0.02F)),
        down(some_values<W>(shape.hidden * shape.width, 2, 0.01F)) {}

  static const Weights& of(const bench::Shape& shape) {
    static const Weights video(bench::ltx2_video);
    static const Weights audio(bench::ltx2_audio);
    return shape.width == bench::ltx2_video.width ? video : audio;
  }

  std::vector<W> up;
  std::vector<W> down;
};

/// Arguments: token_chunk, hidden_chunk, threads.
template <class T, class W, class Gemm>
void feed_forward(benchmark::State& state, const bench::Shape& shape) {
  using Backend = CpuBackend<Gemm>;
  const ChunkedFfnOptions options{state.range(0), state.range(1)};
  const auto& weights = Weights<W>::of(shape);
  const auto matrix = [](const std::vector<W>& values, std::int64_t rows, std::int64_t columns) {
    return DenseLinear(TensorView<const W, 2>(values.data(), {rows, columns}));
  };
  const ChunkedFFN<T, Backend> ffn(matrix(weights.up, shape.hidden, shape.width),
                                   matrix(weights.down, shape.width, shape.hidden));
  const std::vector<T> x = some_values<T>(shape.tokens * shape.width, 3);
  std::vector<T> y(x.size());
  Backend backend({.threads = static_cast<int>(state.range(2))});
  HostResource host;
  CountingResource counting(host);
  Arena arena(counting, ffn.workspace_bytes(backend, shape.tokens, options));
  for ([[maybe_unused]] auto _ : state) {
    ffn(backend, TensorView<const T, 2>(x.data(), {shape.tokens, shape.width}), {},
        TensorView<T, 2>(y.data(), {shape.tokens, shape.width}), arena, options);
    benchmark::ClobberMemory();
  }
  const double flops = 4.0 * static_cast<double>(shape.tokens) * static_cast<double>(shape.width * shape.hidden);
  state.counters["flop/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  state.counters["peak_bytes"] = static_cast<double>(counting.peak_bytes());
  state.counters["check"] = bench::projection(y);
  state.counters["chunks"] =
      static_cast<double>(ceil_div(shape.tokens, ffn.effective(shape.tokens, options).token_chunk));
}

template <class T, class W, class Gemm>
void add(const std::string& types, const bench::Shape& shape, const std::vector<std::vector<std::int64_t>>& options) {
  auto* added =
      benchmark::RegisterBenchmark(("ffn/" + types + "/" + shape.name).c_str(),
                                   [shape](benchmark::State& state) { feed_forward<T, W, Gemm>(state, shape); });
  added->ArgNames({"token_chunk", "hidden_chunk", "threads"})
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime()
      ->Iterations(2);
  for (const std::vector<std::int64_t>& chunks : options) added->Args(chunks);
}

const bool registered = [] {
#if defined(LTXMEM_BENCH_ONEDNN)
  add<bfloat16, bfloat16, OneDnnGemm>(
      "onednn/bf16", bench::ltx2_video,
      {{0, 0, 1}, {0, 0, 2}, {1024, 0, 2}, {512, 0, 1}, {512, 0, 2}, {256, 0, 2}, {0, 4096, 2}, {256, 4096, 2}});
  add<float, bfloat16, OneDnnGemm>("onednn/f32_on_bf16", bench::ltx2_video, {{0, 0, 2}, {512, 0, 2}});
  add<float, float, OneDnnGemm>("onednn/f32", bench::ltx2_video, {{0, 0, 1}, {0, 0, 2}, {512, 0, 1}, {512, 0, 2}});
  add<bfloat16, bfloat16, OneDnnGemm>("onednn/bf16", bench::ltx2_audio, {{0, 0, 2}, {0, 2048, 2}});
#endif
  add<bfloat16, bfloat16, PortableGemm>("portable/bf16", bench::ltx2_audio, {{0, 0, 2}, {0, 2048, 2}});
  return true;
}();

}  // namespace
