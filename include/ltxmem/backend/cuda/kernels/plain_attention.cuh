// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/softmax_state.cuh"

namespace ltxmem::cuda {

/// AttentionTile with plain pointers and the state it appends to.
template <Element T>
struct AttentionKernelArguments {
  Rows<const T> q;
  Rows<const T> k;
  Rows<const T> v;
  Rows<const float> mask;  ///< no data: absent
  DeviceSoftmaxState state;
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t heads_per_kv_head = 1;
  std::int64_t head_dim = 0;
  std::int64_t lead = 0;     ///< query_begin - key_begin
  std::int64_t window = 0;   ///< 0: none
  float logit_scale = 1.0F;  ///< scale * log2(e)
  bool causal = false;

  /// The keys that some of the rows [first, last] see: [begin, end), within [0, keys).
  LTXMEM_DEVICE std::int64_t keys_end(std::int64_t last) const {
    if (!causal) return keys;
    const std::int64_t end = last + lead + 1;
    return end < 0 ? 0 : end < keys ? end : keys;
  }
  LTXMEM_DEVICE std::int64_t keys_begin(std::int64_t first) const {
    if (!causal || window <= 0) return 0;
    const std::int64_t begin = first + lead + 1 - window;
    return begin < 0 ? 0 : begin;
  }
  /// Whether every row [first, last] sees every key [begin, end) and no mask is added: nothing to decide pair by pair.
  LTXMEM_DEVICE bool sees_all(std::int64_t first, std::int64_t last, std::int64_t begin, std::int64_t end) const {
    if (mask.data != nullptr || end > keys) return false;
    return !causal || (first + lead >= end - 1 && (window <= 0 || last + lead - begin < window));
  }
  LTXMEM_DEVICE bool visible(std::int64_t query, std::int64_t key) const {
    if (query >= queries || key >= keys) return false;
    const std::int64_t distance = query + lead - key;
    return !causal || (distance >= 0 && (window <= 0 || distance < window));
  }
};

struct PlainAttentionShared {
  float q[plain_query_rows][plain_head_limit];
  float k[plain_key_rows][plain_head_limit + 1];
  float v[plain_key_rows][plain_head_limit];
};

/// Appends a tile of keys to softmax states with fp32 arithmetic, for any head dim up to plain_head_limit and any
/// alignment: for tiny models and for verification. A warp takes one query row; a lane one key, then one in 32 columns.
///
/// Shapes    see AttentionTile; grid (ceil(N / plain_query_rows), heads), block plain_threads
/// Memory    loads, for each block of r rows that can see m keys (whole tiles of plain_key_rows, cut at the end of K),
///           sizeof(T) D (r + 2 m) and 4 for each visible pair with a mask; for each row the state, 4 D + 8 for each of
///           32 lanes; stores 4 (D + 2) for each row. Shared sizeof(PlainAttentionShared), 73,856
/// Numerics  fp32 throughout; the maximum changes every plain_key_rows keys, counted from the first one of the tile, so
///           cuts of a sequence at whole quanta change no bit
template <Element T>
__global__ void __launch_bounds__(plain_threads, 2)
    plain_attention(const __grid_constant__ AttentionKernelArguments<T> a) {
  constexpr int columns = plain_head_limit / 32;
  constexpr float hidden = -std::numeric_limits<float>::infinity();
  PlainAttentionShared& shared = dynamic_shared<PlainAttentionShared>();
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t head = static_cast<std::int64_t>(blockIdx.y);
  const std::int64_t kv_head = head / a.heads_per_kv_head;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * plain_query_rows;
  const std::int64_t row = first + warp;
  const int head_dim = static_cast<int>(a.head_dim);
  const bool present = row < a.queries;

  const std::int64_t end = a.keys_end(first + plain_query_rows - 1);
  const std::int64_t begin = a.keys_begin(first) / plain_key_rows * plain_key_rows;
  if (begin >= end) return;

  float maximum = hidden;
  float sum = 0.0F;
  float accumulator[columns] = {};
  float* state = nullptr;
  if (present) {
    state = a.state.accumulator.row(row) + head * a.head_dim;
    maximum = load(a.state.maximum.row(row) + head);
    sum = load(a.state.sum.row(row) + head);
    const T* query = a.q.row(row) + head * a.head_dim;
#pragma unroll
    for (int i = 0; i < columns; ++i) {
      const int d = lane + 32 * i;
      if (d < head_dim) {
        accumulator[i] = load(state + d);
        store(&shared.q[warp][d], static_cast<float>(load(query + d)));
      }
    }
  }
  for (std::int64_t tile = begin; tile < end; tile += plain_key_rows) {
    for (int i = static_cast<int>(threadIdx.x); i < plain_key_rows * head_dim; i += plain_threads) {
      const int key = i / head_dim;
      const int d = i % head_dim;
      const bool valid = tile + key < a.keys;
      const std::int64_t offset = kv_head * a.head_dim + d;
      store(&shared.k[key][d], valid ? static_cast<float>(load(a.k.row(tile + key) + offset)) : 0.0F);
      store(&shared.v[key][d], valid ? static_cast<float>(load(a.v.row(tile + key) + offset)) : 0.0F);
    }
    __syncthreads();
    if (present) {
      float logit = hidden;
      if (a.visible(row, tile + lane)) {
        logit = 0.0F;
        for (int d = 0; d < head_dim; ++d) logit += load(&shared.q[warp][d]) * load(&shared.k[lane][d]);
        logit *= a.logit_scale;
        if (a.mask.data != nullptr) logit += log2_e * load(a.mask.row(row) + tile + lane);
      }
      const float highest = warp_maximum(logit);
      const float raised = maximum < highest ? highest : maximum;
      const float factor = softmax_rescale(maximum, raised);
      const float weight = exp2_nonpositive(logit - softmax_base(raised));
      maximum = raised;
      sum = sum * factor + warp_sum(weight);
#pragma unroll
      for (int i = 0; i < columns; ++i) accumulator[i] *= factor;
      for (int key = 0; key < plain_key_rows; ++key) {
        const float its = __shfl_sync(0xffffffffU, weight, key);
#pragma unroll
        for (int i = 0; i < columns; ++i) {
          const int d = lane + 32 * i;
          if (d < head_dim) accumulator[i] += its * load(&shared.v[key][d]);
        }
      }
    }
    __syncthreads();
  }

  if (!present) return;
#pragma unroll
  for (int i = 0; i < columns; ++i) {
    const int d = lane + 32 * i;
    if (d < head_dim) store(state + d, accumulator[i]);
  }
  if (lane != 0) return;
  store(a.state.maximum.row(row) + head, maximum);
  store(a.state.sum.row(row) + head, sum);
}

}  // namespace ltxmem::cuda
