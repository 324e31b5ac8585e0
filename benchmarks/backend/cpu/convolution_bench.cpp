// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The 3x3x3 convolutions of the LTX-2.3 video decoder, each at the channels of its stage on few positions, and one of
/// as few channels as in vocoders and small models; the time of a clip is proportional to its positions, the workspace
/// does not depend on them.
///
/// Counters: flop/s, bytes/s (input, output and weights, each once), peak_bytes (the workspace).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "shapes.hpp"
#include "values.hpp"

#if defined(LTXMEM_BENCH_ONEDNN)
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#endif

namespace {

using namespace ltxmem;

using bench::ConvolutionShape;
using bench::some_values;

constexpr ConvolutionShape narrow{"narrow", 2, 64, 64, 16, 16};
constexpr ConvolutionShape fine_residual{"fine_residual", 2, 32, 64, 128, 128};
constexpr ConvolutionShape middle_residual{"middle_residual", 2, 16, 32, 512, 512};
constexpr ConvolutionShape coarse_upsample{"coarse_upsample", 2, 8, 16, 1024, 4096};

/// W is the type of the stored weights.
template <class T, class W, class Gemm>
void convolve(benchmark::State& state, const ConvolutionShape& shape) {
  const Extents<4> input{shape.frames, shape.height, shape.width, shape.channels};
  const Extents<4> output{shape.frames, shape.height, shape.width, shape.outputs};
  const std::int64_t inner = shape.channels * bench::cube.taps();
  const std::vector<T> x = some_values<T>(element_count(input), 1, 0.1F);
  const std::vector<W> weight = some_values<W>(shape.outputs * inner, 1, 0.1F);
  std::vector<T> y(static_cast<std::size_t>(element_count(output)));
  const ConvolutionArguments<T> arguments{.weight = TensorView<const W, 2>(weight.data(), {shape.outputs, inner}),
                                          .geometry = bench::cube};
  CpuBackend<Gemm> backend({.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))});
  HostResource host;
  CountingResource counting(host);
  Arena arena(counting, backend.template convolution_workspace_bytes<T>(arguments.weight, bench::cube));
  for ([[maybe_unused]] auto _ : state) {
    backend.convolve(TensorView<const T, 4>(x.data(), input), arguments, TensorView<T, 4>(y.data(), output), arena);
    benchmark::ClobberMemory();
  }
  const auto rate = [](double amount, benchmark::Counter::OneK unit) {
    return benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate, unit);
  };
  state.counters["flop/s"] =
      rate(2.0 * static_cast<double>(element_count(output)) * static_cast<double>(inner), benchmark::Counter::kIs1000);
  state.counters["bytes/s"] = rate(static_cast<double>((x.size() + y.size()) * sizeof(T) + weight.size() * sizeof(W)),
                                   benchmark::Counter::kIs1024);
  state.counters["peak_bytes"] = static_cast<double>(counting.peak_bytes());
}

template <class T, class W, class Gemm>
void add(const std::string& types, const ConvolutionShape& shape) {
  benchmark::RegisterBenchmark(("convolution/" + types + "/" + shape.name).c_str(),
                               [shape](benchmark::State& state) { convolve<T, W, Gemm>(state, shape); })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

const bool registered = [] {
#if defined(LTXMEM_BENCH_ONEDNN)
  for (const ConvolutionShape& shape : {narrow, fine_residual, middle_residual, coarse_upsample}) {
    add<bfloat16, bfloat16, OneDnnGemm>("onednn/bf16", shape);
  }
  add<float, float, OneDnnGemm>("onednn/f32", narrow);
  add<float, float, OneDnnGemm>("onednn/f32", fine_residual);
  add<float, bfloat16, OneDnnGemm>("onednn/f32_on_bf16", fine_residual);
#endif
  add<bfloat16, bfloat16, PortableGemm>("portable/bf16", fine_residual);
  add<float, float, PortableGemm>("portable/f32", fine_residual);
  return true;
}();

}  // namespace
