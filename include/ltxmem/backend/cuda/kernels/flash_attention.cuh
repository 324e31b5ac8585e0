// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/plain_attention.cuh"
#include "ltxmem/backend/cuda/ptx.cuh"

namespace ltxmem::cuda {

template <class T, int head_dim, int key_rows>
struct FlashShared {
  alignas(128) T q[flash_query_rows * head_dim];
  alignas(128) T k[2][key_rows * head_dim];
  alignas(128) T v[2][key_rows * head_dim];
};

/// Place of a 16-byte piece of a row in shared memory: pieces change places by the low bits of the row, so that the
/// eight rows of a matrix, which ldmatrix reads together, lie in different banks.
template <int head_dim>
LTXMEM_DEVICE int flash_place(int row, int piece) {
  return row * head_dim + ((piece ^ (row & 7)) * 8);
}

/// Starts copying rows [first, first + count) of one head; rows from `end` on become zeros.
template <int head_dim, int count, class T>
LTXMEM_DEVICE void flash_fetch(T* to, const Rows<const T>& from, std::int64_t column, std::int64_t first,
                               std::int64_t end) {
  constexpr int pieces = head_dim / 8;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < count * pieces; i += flash_threads) {
    const int row = i / pieces;
    const int piece = i % pieces;
    const bool valid = first + row < end;
    const T* source = valid ? from.row(first + row) + column + piece * 8 : from.data;
    cp_async_16(to + flash_place<head_dim>(row, piece), source, valid);
  }
}

/// Appends a tile of keys to softmax states on the matrix units: a block takes 64 query rows of one head, a warp 16.
///
/// Computes  S = q k^T logit_scale + mask in fp32, P = 2^(S - maximum) rounded to T, accumulator += P v
/// Shapes    see AttentionTile; bf16 or f16, head_dim 64, 128 or 256; rows of q, k and v start at multiples of 16
///           bytes, rows of the accumulator at multiples of 8; grid (ceil(N / 64), heads), block flash_threads
/// Memory    loads, for each block of r rows that can see m keys (whole tiles of key_rows, cut at the end of K),
///           2 D (r + 2 m) bytes of q, k and v, 4 for each visible pair with a mask, and for each row the state,
///           4 D + 8 for each of 4 lanes; stores 4 (D + 2) for each row. Shared 2 D (64 + 4 key_rows)
/// Cost      two mma of 16 x 8 x 16 for every 16 rows, 8 keys (or columns) and 16 columns (or keys); 128 threads of at
///           most 255 registers; the budget for each architecture is checked by the build
/// Numerics  sums, maximum and accumulator in fp32. The state after a tile does not depend on where a sequence of keys
/// is
///           cut at whole quanta, nor on the row's place in a block
/// Source    Dao, "FlashAttention-2", 2023, section 3.1
template <class T, int head_dim, int key_rows = flash_key_rows(head_dim)>
requires(std::same_as<T, bfloat16> || std::same_as<T, half>) __global__ void __launch_bounds__(flash_threads)
    flash_attention(const __grid_constant__ AttentionKernelArguments<T> a) {
  static_assert(head_dim % 64 == 0, "flash attention: rows of shared memory are whole sets of swizzled pieces");
  static_assert(key_quantum % key_rows == 0, "flash attention: a quantum of keys is whole tiles");
  static_assert(sizeof(FlashShared<T, head_dim, key_rows>) == flash_shared_bytes(head_dim, key_rows));
  constexpr float hidden = -std::numeric_limits<float>::infinity();
  constexpr int depth = head_dim / 16;
  constexpr bool keep_queries = head_dim <= 128;  // in registers; otherwise they are read again for every tile
  using Pair = Group<float, 2>;
  auto& shared = dynamic_shared<FlashShared<T, head_dim, key_rows>>();
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t head = static_cast<std::int64_t>(blockIdx.y);
  const std::int64_t kv_column = head / a.heads_per_kv_head * head_dim;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * flash_query_rows;
  const std::int64_t end = a.keys_end(first + flash_query_rows - 1);
  const std::int64_t begin = a.keys_begin(first) / key_rows * key_rows;
  if (begin >= end) return;

  flash_fetch<head_dim, flash_query_rows>(shared.q, a.q, head * head_dim, first, a.queries);
  flash_fetch<head_dim, key_rows>(shared.k[0], a.k, kv_column, begin, a.keys);
  flash_fetch<head_dim, key_rows>(shared.v[0], a.v, kv_column, begin, a.keys);
  cp_async_commit();

  // A lane holds, of rows 0 and 8 below row0, columns 2 (lane % 4) and the next of every eight.
  const std::int64_t row0 = first + warp * 16 + lane / 4;
  const int column0 = lane % 4 * 2;
  float accumulator[head_dim / 8][4] = {};
  float maximum[2] = {hidden, hidden};
  float sum[2] = {0.0F, 0.0F};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const std::int64_t row = row0 + 8 * h;
    if (row < a.queries) {
      maximum[h] = load(a.state.maximum.row(row) + head);
      sum[h] = load(a.state.sum.row(row) + head);
      const float* state = a.state.accumulator.row(row) + head * head_dim + column0;
#pragma unroll
      for (int n = 0; n < head_dim / 8; ++n) {
        const Pair pair = load(reinterpret_cast<const Pair*>(state + n * 8));
        accumulator[n][2 * h] = pair.at[0];
        accumulator[n][2 * h + 1] = pair.at[1];
      }
    }
  }

  std::uint32_t queries[keep_queries ? depth : 1][4];
  int stage = 0;
  for (std::int64_t tile = begin; tile < end; tile += key_rows) {
    // This tile has arrived for all threads, and all have finished with the stage that is filled next.
    cp_async_wait<0>();
    __syncthreads();
    if (tile + key_rows < end) {
      flash_fetch<head_dim, key_rows>(shared.k[stage ^ 1], a.k, kv_column, tile + key_rows, a.keys);
      flash_fetch<head_dim, key_rows>(shared.v[stage ^ 1], a.v, kv_column, tile + key_rows, a.keys);
    }
    cp_async_commit();

    float scores[key_rows / 8][4] = {};
#pragma unroll
    for (int k = 0; k < depth; ++k) {
      std::uint32_t(&q)[4] = queries[keep_queries ? k : 0];
      if (!keep_queries || tile == begin) {
        ldmatrix_x4(q, shared.q + flash_place<head_dim>(warp * 16 + lane % 16, k * 2 + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < key_rows / 16; ++n) {
        std::uint32_t b[4];
        const int key = n * 16 + lane / 16 * 8 + lane % 8;
        ldmatrix_x4(b, shared.k[stage] + flash_place<head_dim>(key, k * 2 + lane / 8 % 2));
        mma_m16n8k16<T>(scores[2 * n], q, b[0], b[1]);
        mma_m16n8k16<T>(scores[2 * n + 1], q, b[2], b[3]);
      }
    }

    const bool sees_all = a.sees_all(first, first + flash_query_rows - 1, tile, tile + key_rows);
#pragma unroll
    for (int n = 0; n < key_rows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] *= a.logit_scale;
    }
    if (!sees_all) {
#pragma unroll
      for (int n = 0; n < key_rows / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const std::int64_t row = row0 + i / 2 * 8;
          const std::int64_t key = tile + n * 8 + column0 + i % 2;
          const bool visible = a.visible(row, key);
          if (visible && a.mask.data != nullptr) scores[n][i] += log2_e * load(a.mask.row(row) + key);
          if (!visible) scores[n][i] = hidden;
        }
      }
    }

#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float raised = maximum[h];
#pragma unroll
      for (int n = 0; n < key_rows / 8; ++n) raised = fmaxf(raised, fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
      raised = fmaxf(raised, __shfl_xor_sync(0xffffffffU, raised, 1));
      raised = fmaxf(raised, __shfl_xor_sync(0xffffffffU, raised, 2));
      const float base = softmax_base(raised);
      const float factor = exp2_approximate(maximum[h] - base);
      float weights = 0.0F;
#pragma unroll
      for (int n = 0; n < key_rows / 8; ++n) {
        scores[n][2 * h] = exp2_approximate(scores[n][2 * h] - base);
        scores[n][2 * h + 1] = exp2_approximate(scores[n][2 * h + 1] - base);
        weights += scores[n][2 * h] + scores[n][2 * h + 1];
      }
      weights += __shfl_xor_sync(0xffffffffU, weights, 1);
      weights += __shfl_xor_sync(0xffffffffU, weights, 2);
      maximum[h] = raised;
      sum[h] = sum[h] * factor + weights;
#pragma unroll
      for (int n = 0; n < head_dim / 8; ++n) {
        accumulator[n][2 * h] *= factor;
        accumulator[n][2 * h + 1] *= factor;
      }
    }

#pragma unroll
    for (int k = 0; k < key_rows / 16; ++k) {
      const std::uint32_t p[4] = {pack_pair<T>(scores[2 * k][0], scores[2 * k][1]),
                                  pack_pair<T>(scores[2 * k][2], scores[2 * k][3]),
                                  pack_pair<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                  pack_pair<T>(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < head_dim / 16; ++n) {
        std::uint32_t b[4];
        ldmatrix_x4_trans(b, shared.v[stage] + flash_place<head_dim>(k * 16 + lane % 16, n * 2 + lane / 16));
        mma_m16n8k16<T>(accumulator[2 * n], p, b[0], b[1]);
        mma_m16n8k16<T>(accumulator[2 * n + 1], p, b[2], b[3]);
      }
    }
    stage ^= 1;
  }

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const std::int64_t row = row0 + 8 * h;
    if (row < a.queries) {
      float* state = a.state.accumulator.row(row) + head * head_dim + column0;
#pragma unroll
      for (int n = 0; n < head_dim / 8; ++n) {
        store(reinterpret_cast<Pair*>(state + n * 8), Pair{{accumulator[n][2 * h], accumulator[n][2 * h + 1]}});
      }
      if (lane % 4 == 0) {
        store(a.state.maximum.row(row) + head, maximum[h]);
        store(a.state.sum.row(row) + head, sum[h]);
      }
    }
  }
}

}  // namespace ltxmem::cuda
