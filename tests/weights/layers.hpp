// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/weights/linear.hpp"
#include "support/catch.hpp"
#include "support/linear_reference.hpp"
#include "support/numbers.hpp"

/// Random matrices with their double precision twins, and the running of layers in exactly the workspace they ask for.

namespace ltxmem::test {

template <class W>
struct RandomMatrix {
  RandomMatrix(std::int64_t row_count, std::int64_t column_count, std::uint32_t seed)
      : rows(row_count), columns(column_count), values(random_values<W>(rows * columns, seed)) {}

  WeightMatrix weight(const float* scale = nullptr) const {
    return {TensorView<const W, 2>(values.data(), {rows, columns}), scale};
  }
  TensorView<const W, 2> view() const { return {values.data(), {rows, columns}}; }
  TensorView<W, 2> view() { return {values.data(), {rows, columns}}; }
  std::vector<double> doubles() const { return as_doubles(values); }

  std::int64_t rows;
  std::int64_t columns;
  std::vector<W> values;
};

inline WeightVector bias_view(const std::vector<float>& bias) {
  return TensorView<const float, 1>(bias.data(), {static_cast<std::int64_t>(bias.size())});
}

/// y of a layer, computed in a workspace of exactly workspace_bytes; checks that this is the dry run's peak and the
/// counted one as well.
template <class Out, class Layer, class T, class Backend = CpuBackend<>>
std::vector<Out> apply(const Layer& layer, const RandomMatrix<T>& x, const LinearEpilogue<Out>& epilogue = {},
                       int threads = 1) {
  Backend backend({.threads = threads});
  const std::size_t bytes = layer.template workspace_bytes<T>(backend, x.rows);
  std::vector<Out> y(static_cast<std::size_t>(x.rows * layer.outputs()));
  HostResource host;
  CountingResource counting(host);
  {
    Arena arena(counting, bytes);
    layer.apply(backend, x.view(), epilogue, TensorView<Out, 2>(y.data(), {x.rows, layer.outputs()}), arena);
    CHECK(arena.peak_bytes() == bytes);
    CHECK(arena.used_bytes() == 0);
  }
  CHECK(counting.peak_bytes() == bytes);
  return y;
}

/// Peak of the same call in a dry run.
template <class Out, class Layer, class T>
std::size_t dry_peak(const Layer& layer, const RandomMatrix<T>& x, int threads = 1) {
  const CpuBackend<> backend({.threads = threads});
  DryRunBackend dry(backend.target());
  Arena arena = Arena::make_virtual();
  layer.apply(dry, x.view(), LinearEpilogue<Out>{}, TensorView<Out, 2>(nullptr, {x.rows, layer.outputs()}), arena);
  return arena.peak_bytes();
}

/// Adds the slices of a layer's inputs in float, slice by slice.
template <class Layer, class T>
std::vector<float> sum_of_input_slices(const Layer& layer, const RandomMatrix<T>& x, std::int64_t width) {
  CpuBackend<> backend;
  HostResource host;
  Arena arena(host, std::size_t{64} << 20);
  std::vector<float> sum(static_cast<std::size_t>(x.rows * layer.outputs()));
  const TensorView<float, 2> y(sum.data(), {x.rows, layer.outputs()});
  for (std::int64_t begin = 0; begin < layer.inputs(); begin += width) {
    const std::int64_t count = std::min(width, layer.inputs() - begin);
    LinearEpilogue<float> epilogue;
    if (begin > 0) epilogue.addend = y;
    layer.slice_inputs(begin, count).apply(backend, x.view().columns(begin, count), epilogue, y, arena);
  }
  return sum;
}

/// Puts the slices of a layer's outputs side by side.
template <class Layer, class T>
std::vector<T> row_of_output_slices(const Layer& layer, const RandomMatrix<T>& x, std::int64_t width) {
  CpuBackend<> backend;
  HostResource host;
  Arena arena(host, std::size_t{64} << 20);
  std::vector<T> y(static_cast<std::size_t>(x.rows * layer.outputs()));
  const TensorView<T, 2> whole(y.data(), {x.rows, layer.outputs()});
  for (std::int64_t begin = 0; begin < layer.outputs(); begin += width) {
    const std::int64_t count = std::min(width, layer.outputs() - begin);
    layer.slice_outputs(begin, count).apply(backend, x.view(), LinearEpilogue<T>{}, whole.columns(begin, count), arena);
  }
  return y;
}

}  // namespace ltxmem::test
