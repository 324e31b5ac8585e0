// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/rows.cuh"

/// Kernels over elements of matrices [N, D]: one row for each block in y, grid (ceil(D / (row_threads width)), N),
/// block row_threads. width divides D and what the addresses allow.

namespace ltxmem::cuda {

struct ElementWork {
  std::int64_t row = static_cast<std::int64_t>(blockIdx.y);
  std::int64_t column;

  LTXMEM_DEVICE explicit ElementWork(int width)
      : column((static_cast<std::int64_t>(blockIdx.x) * row_threads + threadIdx.x) * width) {}
};

/// y = residual + gate * x; y may be residual or x.
///
/// Memory    loads 2 sizeof(T) + 4 bytes for each element, and 4 for each thread where the gate has an index; stores
///           sizeof(T)
template <Element T, int width>
__global__ void __launch_bounds__(row_threads, 4)
    gated_residual(Rows<const T> x, Rows<const T> residual, DeviceTokenRows gate, Rows<T> y, std::int64_t columns) {
  using Piece = Group<T, width>;
  const ElementWork work(width);
  if (work.column >= columns) return;
  const Piece piece = load(reinterpret_cast<const Piece*>(x.row(work.row) + work.column));
  const Piece before = load(reinterpret_cast<const Piece*>(residual.row(work.row) + work.column));
  const float* factor = gate.row(work.row) + work.column;
  Piece result;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    result.at[i] =
        static_cast<T>(static_cast<float>(before.at[i]) + load(factor + i) * static_cast<float>(piece.at[i]));
  }
  store(reinterpret_cast<Piece*>(y.row(work.row) + work.column), result);
}

/// y = activation(x); y may be x.
///
/// Memory    loads and stores sizeof(T) for each element
template <Element T, int width>
__global__ void __launch_bounds__(row_threads, 4)
    activate_rows(Rows<const T> x, Activation activation, Rows<T> y, std::int64_t columns) {
  using Piece = Group<T, width>;
  const ElementWork work(width);
  if (work.column >= columns) return;
  Piece piece = load(reinterpret_cast<const Piece*>(x.row(work.row) + work.column));
#pragma unroll
  for (int i = 0; i < width; ++i) piece.at[i] = static_cast<T>(activate(activation, static_cast<float>(piece.at[i])));
  store(reinterpret_cast<Piece*>(y.row(work.row) + work.column), piece);
}

/// to = from, rounded to the other element type.
///
/// Memory    loads sizeof(From) and stores sizeof(To) for each element
template <Element From, Element To, int width>
__global__ void __launch_bounds__(row_threads, 4) cast_rows(Rows<const From> from, Rows<To> to, std::int64_t columns) {
  const ElementWork work(width);
  if (work.column >= columns) return;
  const auto piece = load(reinterpret_cast<const Group<From, width>*>(from.row(work.row) + work.column));
  Group<To, width> result;
#pragma unroll
  for (int i = 0; i < width; ++i) result.at[i] = static_cast<To>(static_cast<float>(piece.at[i]));
  store(reinterpret_cast<Group<To, width>*>(to.row(work.row) + work.column), result);
}

}  // namespace ltxmem::cuda
