// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/attention_kernel.hpp"
#include "ltxmem/backend/cpu/portable_attention.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/math/softmax_state.hpp"
#include "ltxmem/memory/arena.hpp"

/// Attention operations of the CPU backend: what is cut into items, where their scratch lies, and the state in memory.
/// The arithmetic of one block of rows against one quantum of keys is the kernel's, see attention_kernel.hpp.
///
/// Numerics  a row's arithmetic is a sequence of whole quanta, counted from the first key of the sequence, with the
///           state stored as fp32 in between; it depends on nothing else

namespace ltxmem::cpu {

/// Query rows of one item: enough for the packing of a quantum of keys, most of which is waiting for rows that lie a page
/// apart, to vanish beside its products; few enough for long sequences to keep many cores busy.
inline constexpr std::int64_t attention_block_rows = 1536;

namespace detail {

/// Offsets, in floats, of the parts of one worker's scratch.
struct AttentionScratch {
  std::int64_t padded_rows;
  std::int64_t padded_head_dim;
  std::int64_t queries, keys, values, accumulator, maximum, sum, scores, size;

  AttentionScratch(std::int64_t rows, std::int64_t head_dim)
      : padded_rows(round_up(std::min(rows, attention_block_rows), attention_row_padding)),
        padded_head_dim(round_up(head_dim, attention_lanes)),
        queries(0),
        keys(after(queries, padded_rows * head_dim)),
        values(after(keys, key_quantum * head_dim)),
        accumulator(after(values, key_quantum * padded_head_dim)),
        maximum(after(accumulator, padded_rows * padded_head_dim)),
        sum(after(maximum, padded_rows)),
        scores(after(sum, padded_rows)),
        size(after(scores, attention_tile_rows * key_quantum)) {}

  static std::int64_t after(std::int64_t offset, std::int64_t count) {
    return offset + round_up(count, attention_lanes);
  }
};

/// One item: rows [row, row + rows) of one head against all keys of the tile.
template <class Kernel, Element T>
void append_block(const AttentionTile<T>& tile, const SoftmaxStateView& state, const AttentionScratch& layout,
                  float* scratch, std::int64_t head, std::int64_t row, std::int64_t rows) {
  const std::int64_t head_dim = tile.head_dim();
  const std::int64_t padded_rows = round_up(rows, attention_row_padding);
  const auto accumulator = state.accumulator.rows(row, rows).columns(head * head_dim, head_dim);
  const auto maximum = state.maximum.rows(row, rows);
  const auto sum = state.sum.rows(row, rows);
  const std::int64_t kv_head = head / (tile.heads / tile.kv_heads);
  const auto keys = tile.k.columns(kv_head * head_dim, head_dim);
  const auto values = tile.v.columns(kv_head * head_dim, head_dim);

  AttentionQuantum quantum{};
  quantum.queries = scratch + layout.queries;
  quantum.keys = scratch + layout.keys;
  quantum.values = scratch + layout.values;
  quantum.accumulator = scratch + layout.accumulator;
  quantum.maximum = scratch + layout.maximum;
  quantum.sum = scratch + layout.sum;
  quantum.scores = scratch + layout.scores;
  quantum.rows = rows;
  quantum.head_dim = head_dim;
  quantum.padded_head_dim = layout.padded_head_dim;
  quantum.query_position = tile.query_begin + row;
  quantum.causal = tile.causal;
  quantum.window = tile.window;

  quantum.scale = tile.scale * log2_e;

  bool begun = false;
  const auto begin = [&] {
    Kernel::pack_queries(tile.q.rows(row, rows).columns(head * head_dim, head_dim), quantum.scale,
                         scratch + layout.queries);
    for (std::int64_t r = 0; r < padded_rows; ++r) {
      float* kept = quantum.accumulator + r * layout.padded_head_dim;
      const bool real = r < rows;
      if (real) std::copy_n(accumulator.data() + r * accumulator.stride(0), head_dim, kept);
      std::fill(kept + (real ? head_dim : 0), kept + layout.padded_head_dim, 0.0F);
      quantum.maximum[r] = real ? maximum(r, head) : -std::numeric_limits<float>::infinity();
      quantum.sum[r] = real ? sum(r, head) : 0.0F;
    }
    begun = true;
  };

  for (std::int64_t key = 0; key < tile.k.extent(0); key += key_quantum) {
    const std::int64_t count = std::min(key_quantum, tile.k.extent(0) - key);
    quantum.keys_count = count;
    quantum.key_position = tile.key_begin + key;
    quantum.hides = count < key_quantum || !tile.mask.empty();
    if (tile.causal) {
      const std::int64_t first_query = quantum.query_position;
      const std::int64_t last_query = first_query + rows - 1;
      if (quantum.key_position > last_query) break;
      if (tile.window > 0 && quantum.key_position + count - 1 <= first_query - tile.window) continue;
      quantum.hides = quantum.hides || quantum.key_position + count - 1 > first_query ||
                      (tile.window > 0 && last_query - quantum.key_position >= tile.window);
    }
    if (!tile.mask.empty()) quantum.mask = tile.mask.rows(row, rows).columns(key, count);
    if (!begun) begin();
    Kernel::pack_keys(keys.rows(key, count), scratch + layout.keys);
    Kernel::pack_values(values.rows(key, count), layout.padded_head_dim, scratch + layout.values);
    Kernel::template append<T>(quantum);
  }
  if (!begun) return;
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* kept = quantum.accumulator + r * layout.padded_head_dim;
    std::copy_n(kept, head_dim, accumulator.data() + r * accumulator.stride(0));
    maximum(r, head) = quantum.maximum[r];
    sum(r, head) = quantum.sum[r];
  }
}

/// fn(row, head) for every row and head of a state, in parallel over blocks of rows.
template <class Fn>
void for_each_state(ThreadPool& pool, const SoftmaxStateView& state, Fn&& fn) {
  constexpr std::int64_t block = 64;
  const std::int64_t rows = state.maximum.extent(0);
  pool.parallel_for(ceil_div(rows, block), [&](std::int64_t item, int) {
    const std::int64_t end = std::min(rows, (item + 1) * block);
    for (std::int64_t row = item * block; row < end; ++row) {
      for (std::int64_t head = 0; head < state.maximum.extent(1); ++head) fn(row, head);
    }
  });
}

}  // namespace detail

/// Scratch of attention_append: per thread, one block of queries with its state and one packed quantum of keys and
/// values, in fp32. Depends on the number of keys only in that none need none.
template <Element T>
std::size_t attention_workspace_bytes(int threads, const AttentionTile<T>& tile) {
  if (tile.q.extent(0) == 0 || tile.k.extent(0) == 0) return 0;
  const detail::AttentionScratch layout(tile.q.extent(0), tile.head_dim());
  return aligned_bytes(byte_count<float>(Extents<2>{threads, layout.size}));
}

template <class Kernel, Element T>
void attention_append(ThreadPool& pool, const AttentionTile<T>& tile, SoftmaxStateView state, Arena& arena) {
  ltxmem::detail::check_attention(tile, state);
  const std::int64_t rows = tile.q.extent(0);
  if (rows == 0 || tile.k.extent(0) == 0) return;
  const auto scope = arena.scope();
  const detail::AttentionScratch layout(rows, tile.head_dim());
  float* scratch = arena.take<float, 2>("attention scratch", {pool.threads(), layout.size}).data();
  const std::int64_t blocks = ceil_div(rows, attention_block_rows);
  pool.parallel_for(blocks * tile.heads, [&](std::int64_t item, int worker) {
    const std::int64_t row = item % blocks * attention_block_rows;
    detail::append_block<Kernel>(tile, state, layout, scratch + worker * layout.size, item / blocks, row,
                                 std::min(attention_block_rows, rows - row));
  });
}

inline void attention_reset(ThreadPool& pool, SoftmaxStateView state) {
  ltxmem::detail::check_softmax_state(state);
  const std::int64_t heads = state.maximum.extent(1);
  const std::int64_t head_dim = heads == 0 ? 0 : state.accumulator.extent(1) / heads;
  detail::for_each_state(pool, state, [&](std::int64_t row, std::int64_t head) {
    constexpr SoftmaxState identity;
    state.maximum(row, head) = identity.maximum;
    state.sum(row, head) = identity.sum;
    for (std::int64_t d = 0; d < head_dim; ++d) state.accumulator(row, head * head_dim + d) = 0.0F;
  });
}

inline void attention_merge(ThreadPool& pool, SoftmaxStateView from, SoftmaxStateView into) {
  ltxmem::detail::check_attention_merge(from, into);
  const std::int64_t heads = into.maximum.extent(1);
  const std::int64_t head_dim = heads == 0 ? 0 : into.accumulator.extent(1) / heads;
  detail::for_each_state(pool, into, [&](std::int64_t row, std::int64_t head) {
    const SoftmaxMerge merged =
        softmax_merge({into.maximum(row, head), into.sum(row, head)}, {from.maximum(row, head), from.sum(row, head)});
    into.maximum(row, head) = merged.state.maximum;
    into.sum(row, head) = merged.state.sum;
    for (std::int64_t d = head * head_dim; d < (head + 1) * head_dim; ++d) {
      into.accumulator(row, d) =
          into.accumulator(row, d) * merged.factor_a + from.accumulator(row, d) * merged.factor_b;
    }
  });
}

template <Element T>
void attention_finalize(ThreadPool& pool, SoftmaxStateView state, TensorView<const float, 2> gate, TensorView<T, 2> out,
                        TensorView<float, 2> natural_lse) {
  ltxmem::detail::check_attention_finalize<T>(state, gate, out, natural_lse);
  const std::int64_t heads = state.maximum.extent(1);
  const std::int64_t head_dim = heads == 0 ? 0 : out.extent(1) / heads;
  detail::for_each_state(pool, state, [&](std::int64_t row, std::int64_t head) {
    const SoftmaxState seen{state.maximum(row, head), state.sum(row, head)};
    const float factor = softmax_inverse_sum(seen.sum) * (gate.empty() ? 1.0F : gate(row, head));
    for (std::int64_t d = head * head_dim; d < (head + 1) * head_dim; ++d) {
      out(row, d) = static_cast<T>(state.accumulator(row, d) * factor);
    }
    if (!natural_lse.empty()) natural_lse(row, head) = softmax_natural_lse(seen);
  });
}

}  // namespace ltxmem::cpu
