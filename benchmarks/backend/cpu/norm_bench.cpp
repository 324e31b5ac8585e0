// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The passes that memory bounds: row norm with modulation and, in place, query/key norm with rotary embedding.
///
/// Counters: bytes_per_second, every element read and written once: hold it against limits/copy. check, see values.hpp.

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/backend/cpu/head_norm.hpp"
#include "ltxmem/backend/cpu/norm.hpp"
#include "shapes.hpp"
#include "values.hpp"

namespace {

using namespace ltxmem;
using bench::ltx2_video_long;
using bench::some_values;

/// Argument: threads.
template <class T>
void norm_and_modulate(benchmark::State& state) {
  const bench::Shape& shape = ltx2_video_long;
  ThreadPool pool(static_cast<int>(state.range(0)));
  const std::vector<T> x = some_values<T>(shape.tokens * shape.width, 1);
  const std::vector<float> scale = some_values<float>(shape.width, 2);
  const std::vector<float> shift = some_values<float>(shape.width, 3);
  std::vector<T> y(x.size());
  NormArguments<T> arguments;
  arguments.scale.rows = {scale.data(), {1, shape.width}};
  arguments.shift.rows = {shift.data(), {1, shape.width}};
  for ([[maybe_unused]] auto _ : state) {
    cpu::norm<T>(pool, TensorView<const T, 2>(x.data(), {shape.tokens, shape.width}), arguments,
                 TensorView<T, 2>(y.data(), {shape.tokens, shape.width}));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(2 * x.size() * sizeof(T)));
  state.counters["check"] = bench::projection(y);
}

/// Argument: threads. Norms over whole rows, tokens of a video of 16 x 16 x 16 cells: one table row for each coordinate
/// of three axes.
template <class T>
void head_norm_and_rotate(benchmark::State& state) {
  const bench::Shape& shape = ltx2_video_long;
  ThreadPool pool(static_cast<int>(state.range(0)));
  std::vector<T> x = some_values<T>(shape.tokens * shape.width, 1);
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
    cpu::head_norm<T>(pool, TensorView<T, 2>(x.data(), {shape.tokens, shape.width}), arguments);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(2 * x.size() * sizeof(T)));
}

BENCHMARK(norm_and_modulate<float>)->Name("norm/modulate/f32")->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(norm_and_modulate<bfloat16>)->Name("norm/modulate/bf16")->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(head_norm_and_rotate<float>)->Name("head_norm/rotate/f32")->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(head_norm_and_rotate<bfloat16>)
    ->Name("head_norm/rotate/bf16")
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(2)
    ->UseRealTime();

}  // namespace
