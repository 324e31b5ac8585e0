// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

#include "ltxmem/backend/cuda/rows.cuh"
#include "ltxmem/math/softmax_state.hpp"

/// Kernels over softmax states. A warp takes one row of one head; grid ceil(N H / 8), block row_threads.

namespace ltxmem::cuda {

/// SoftmaxStateView with plain pointers.
struct DeviceSoftmaxState {
  Rows<float> accumulator;
  Rows<float> maximum;
  Rows<float> sum;
};

/// What the warp of this thread works on.
struct StateWork {
  std::int64_t row;
  std::int64_t head;
  int lane;

  LTXMEM_DEVICE explicit StateWork(std::int64_t heads) {
    const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * (row_threads / 32) + threadIdx.x / 32;
    row = item / heads;
    head = item % heads;
    lane = static_cast<int>(threadIdx.x % 32);
  }
};

/// The identity: nothing seen.
///
/// Memory    stores 4 (D + 2) bytes for each row of a head, D its width
template <int = 0>
__global__ void __launch_bounds__(row_threads, 4)
    reset_states(const __grid_constant__ DeviceSoftmaxState state, std::int64_t rows, std::int64_t heads,
                 std::int64_t head_dim) {
  const StateWork work(heads);
  if (work.row >= rows) return;
  float* accumulator = state.accumulator.row(work.row) + work.head * head_dim;
  for (std::int64_t d = work.lane; d < head_dim; d += 32) store(accumulator + d, 0.0F);
  if (work.lane != 0) return;
  store(state.maximum.row(work.row) + work.head, -std::numeric_limits<float>::infinity());
  store(state.sum.row(work.row) + work.head, 0.0F);
}

/// into = the state of both key sets; from keeps its content.
///
/// Memory    loads, for each row of a head, 8 D bytes and 16 for each of 32 lanes; stores 4 D + 8
template <int = 0>
__global__ void __launch_bounds__(row_threads, 4)
    merge_states(const __grid_constant__ DeviceSoftmaxState from, const __grid_constant__ DeviceSoftmaxState into,
                 std::int64_t rows, std::int64_t heads, std::int64_t head_dim) {
  const StateWork work(heads);
  if (work.row >= rows) return;
  float* maximum = into.maximum.row(work.row) + work.head;
  float* sum = into.sum.row(work.row) + work.head;
  const SoftmaxMerge merge =
      softmax_merge({load(from.maximum.row(work.row) + work.head), load(from.sum.row(work.row) + work.head)},
                    {load(maximum), load(sum)});
  // Every lane has read the old statistics before one of them writes the new ones.
  __syncwarp();
  if (work.lane == 0) {
    store(maximum, merge.state.maximum);
    store(sum, merge.state.sum);
  }
  const float* more = from.accumulator.row(work.row) + work.head * head_dim;
  float* accumulator = into.accumulator.row(work.row) + work.head * head_dim;
  for (std::int64_t d = work.lane; d < head_dim; d += 32) {
    store(accumulator + d, load(more + d) * merge.factor_a + load(accumulator + d) * merge.factor_b);
  }
}

/// out = accumulator / sum * gate, and the log-sum-exp in base e.
///
/// Memory    loads, for each row of a head, 4 D bytes and 4 for each of 32 lanes (8 with a gate), 8 more with lse (its
///           maximum and sum again); stores D sizeof(T), and 4 with lse
template <Element T>
__global__ void __launch_bounds__(row_threads, 4)
    finalize_states(const __grid_constant__ DeviceSoftmaxState state, Rows<const float> gate, Rows<T> out,
                    Rows<float> natural_lse, std::int64_t rows, std::int64_t heads, std::int64_t head_dim) {
  const StateWork work(heads);
  if (work.row >= rows) return;
  float factor = softmax_inverse_sum(load(state.sum.row(work.row) + work.head));
  if (gate.data != nullptr) factor *= load(gate.row(work.row) + work.head);
  const float* accumulator = state.accumulator.row(work.row) + work.head * head_dim;
  T* to = out.row(work.row) + work.head * head_dim;
  for (std::int64_t d = work.lane; d < head_dim; d += 32) store(to + d, static_cast<T>(load(accumulator + d) * factor));
  if (natural_lse.data == nullptr || work.lane != 0) return;
  const SoftmaxState statistics{load(state.maximum.row(work.row) + work.head),
                                load(state.sum.row(work.row) + work.head)};
  store(natural_lse.row(work.row) + work.head, softmax_natural_lse(statistics));
}

}  // namespace ltxmem::cuda
