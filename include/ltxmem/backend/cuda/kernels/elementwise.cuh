// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>

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

/// to = from, rounded to the other element type; weights in float8 are one too.
///
/// Memory    loads sizeof(From) and stores sizeof(To) for each element
template <class From, Element To, int width>
__global__ void __launch_bounds__(row_threads, 4) cast_rows(Rows<const From> from, Rows<To> to, std::int64_t columns) {
  const ElementWork work(width);
  if (work.column >= columns) return;
  const auto piece = load(reinterpret_cast<const Group<From, width>*>(from.row(work.row) + work.column));
  Group<To, width> result;
#pragma unroll
  for (int i = 0; i < width; ++i) result.at[i] = static_cast<To>(static_cast<float>(piece.at[i]));
  store(reinterpret_cast<Group<To, width>*>(to.row(work.row) + work.column), result);
}

/// A function whose call fn(i) does Fn::parts things that do not depend on each other, each of which fn.part(i, p) does
/// alone: a processor makes the call, whose loops run over the parts, and a device gives every part a thread.
template <class Fn>
concept HasParts = requires(const Fn& fn, std::int64_t i) {
  { Fn::parts } -> std::convertible_to<std::int64_t>;
  fn.part(i, i);
};

/// Threads for each call of fn.
template <class Fn>
inline constexpr std::int64_t threads_of_call = 1;
template <HasParts Fn>
inline constexpr std::int64_t threads_of_call<Fn> = Fn::parts;

/// fn(i) for i in [0, count), one for each thread, or one of its parts; grid ceil(count threads_of_call / row_threads),
/// block row_threads.
template <class Fn>
__global__ void __launch_bounds__(row_threads) for_each_item(const __grid_constant__ Fn fn, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * row_threads + threadIdx.x;
  if (i >= count * threads_of_call<Fn>) return;
  if constexpr (HasParts<Fn>) {
    fn.part(i / Fn::parts, i % Fn::parts);
  } else {
    fn(i);
  }
}

}  // namespace ltxmem::cuda
