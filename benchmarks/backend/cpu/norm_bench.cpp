// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The passes that memory bounds: row norm with modulation, with SiLU as in the video decoder, the addition of a
/// residual, conversions, and, in place, query/key norm with rotary embedding.
///
/// Counters: bytes_per_second, every element read and written once: hold it against limits/copy. peak_bytes, the
/// operands as long as the sequence, for none has a workspace. check, see values.hpp.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/cpu/head_norm.hpp"
#include "ltxmem/backend/cpu/norm.hpp"
#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "shapes.hpp"
#include "values.hpp"

namespace {

using namespace ltxmem;
using bench::ltx2_video_long;
using bench::some_values;

constexpr Extents<2> extents{ltx2_video_long.tokens, ltx2_video_long.width};

/// Activations of all tokens, where the library has them: in aligned memory, of which it counts the bytes.
class Activations {
 public:
  template <class T>
  Tensor<T, 2> make(std::uint32_t seed) {
    Tensor<T, 2> made(counting_, extents);
    const std::vector<T> values = some_values<T>(element_count(extents), seed);
    std::copy(values.begin(), values.end(), made.view().data());
    return made;
  }

  void report(benchmark::State& state, std::size_t bytes) const {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
    state.counters["peak_bytes"] = static_cast<double>(counting_.peak_bytes());
  }

 private:
  HostResource host_;
  CountingResource counting_{host_};
};

enum class Pass { modulate, silu, residual };

/// Argument: threads.
template <class T, Pass pass>
void norm(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  Activations activations;
  const Tensor<T, 2> x = activations.make<T>(1);
  Tensor<T, 2> y = activations.make<T>(4);
  const std::vector<float> scale = some_values<float>(extents[1], 2);
  const std::vector<float> shift = some_values<float>(extents[1], 3);
  NormArguments<T> arguments;
  std::size_t bytes = x.bytes() + y.bytes();
  if constexpr (pass == Pass::modulate) {
    arguments.scale.rows = {scale.data(), {1, extents[1]}};
    arguments.shift.rows = {shift.data(), {1, extents[1]}};
  } else if constexpr (pass == Pass::silu) {
    arguments.activation = Activation::silu;
  } else {
    // y <- x + y: again and again, which leaves the floating-point numbers far from their ends.
    arguments.kind = NormKind::none;
    arguments.residual = std::as_const(y).view();
    bytes += y.bytes();
  }
  for ([[maybe_unused]] auto _ : state) {
    cpu::norm<T>(pool, x.view(), arguments, y.view());
    benchmark::ClobberMemory();
  }
  activations.report(state, bytes);
  if constexpr (pass != Pass::residual) {
    state.counters["check"] = bench::projection(std::vector<T>(y.view().data(), y.view().data() + y.view().size()));
  }
}

/// Argument: threads.
template <class From, class To>
void convert(benchmark::State& state) {
  CpuBackend<> backend({.threads = static_cast<int>(state.range(0))});
  Activations activations;
  const Tensor<From, 2> x = activations.make<From>(1);
  Tensor<To, 2> y = activations.make<To>(2);
  for ([[maybe_unused]] auto _ : state) {
    backend.copy(x.view(), y.view());
    benchmark::ClobberMemory();
  }
  activations.report(state, x.bytes() + y.bytes());
}

/// Argument: threads. Norms over whole rows, tokens of a video of 16 x 16 x 16 cells: one table row for each coordinate
/// of three axes.
template <class T>
void head_norm_and_rotate(benchmark::State& state) {
  const bench::Shape& shape = ltx2_video_long;
  ThreadPool pool(static_cast<int>(state.range(0)));
  Activations activations;
  Tensor<T, 2> x = activations.make<T>(1);
  // In place again and again: weights of other sizes would bring numbers below the normal ones, which cost more.
  const std::vector<float> weight(static_cast<std::size_t>(shape.width), 1.0F);
  constexpr std::int64_t axes = 3;
  constexpr std::int64_t cells = 16;
  constexpr std::int64_t rows = axes * cells;
  const std::int64_t frequencies = shape.width / 2 / axes;
  std::vector<float> cosine(static_cast<std::size_t>(rows * frequencies));
  std::vector<float> sine(cosine.size());
  for (std::size_t i = 0; i < cosine.size(); ++i) {
    cosine[i] = std::cos(static_cast<float>(i));
    sine[i] = std::sin(static_cast<float>(i));
  }
  std::vector<std::int32_t> coordinate(static_cast<std::size_t>(shape.tokens * axes));
  for (std::int64_t n = 0; n < shape.tokens; ++n) {
    auto* of_token = &coordinate[static_cast<std::size_t>(n * axes)];
    of_token[0] = static_cast<std::int32_t>(n / (cells * cells));
    of_token[1] = static_cast<std::int32_t>(cells + n / cells % cells);
    of_token[2] = static_cast<std::int32_t>(2 * cells + n % cells);
  }
  HeadNormArguments arguments;
  arguments.heads = shape.heads;
  arguments.weight = TensorView<const float, 1>(weight.data(), {shape.width});
  arguments.rotary.cosine = {cosine.data(), {rows, frequencies}};
  arguments.rotary.sine = {sine.data(), {rows, frequencies}};
  arguments.rotary.coordinate = {coordinate.data(), {shape.tokens, axes}};
  arguments.rotary.identity_slots = shape.width / 2 - axes * frequencies;
  for ([[maybe_unused]] auto _ : state) {
    cpu::head_norm<T>(pool, x.view(), arguments);
    benchmark::ClobberMemory();
  }
  activations.report(state, 2 * x.bytes());
}

#define LTXMEM_BENCH_PASS(name, ...) \
  BENCHMARK(__VA_ARGS__)->Name(name)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()

LTXMEM_BENCH_PASS("norm/modulate/f32", norm<float, Pass::modulate>);
LTXMEM_BENCH_PASS("norm/modulate/bf16", norm<bfloat16, Pass::modulate>);
LTXMEM_BENCH_PASS("norm/silu/f32", norm<float, Pass::silu>);
LTXMEM_BENCH_PASS("norm/silu/bf16", norm<bfloat16, Pass::silu>);
LTXMEM_BENCH_PASS("norm/residual/f32", norm<float, Pass::residual>);
LTXMEM_BENCH_PASS("norm/residual/bf16", norm<bfloat16, Pass::residual>);
LTXMEM_BENCH_PASS("head_norm/rotate/f32", head_norm_and_rotate<float>);
LTXMEM_BENCH_PASS("head_norm/rotate/bf16", head_norm_and_rotate<bfloat16>);
LTXMEM_BENCH_PASS("convert/f32_to_bf16", convert<float, bfloat16>);
LTXMEM_BENCH_PASS("convert/bf16_to_f32", convert<bfloat16, float>);
LTXMEM_BENCH_PASS("convert/f32_to_f16", convert<float, half>);
LTXMEM_BENCH_PASS("convert/f16_to_f32", convert<half, float>);

}  // namespace
