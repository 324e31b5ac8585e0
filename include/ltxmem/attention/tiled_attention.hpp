// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "ltxmem/attention/online_softmax.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/stores/row_store.hpp"

namespace ltxmem {

struct TiledAttentionOptions {
  std::int64_t heads = 1;
  std::int64_t kv_heads = 0;    ///< divides heads; 0: as many as heads
  float scale = 0.0F;           ///< of the logits, natural base; 0: 1 / sqrt(head_dim)
  bool causal = false;          ///< a key is visible iff its position <= the query's
  std::int64_t window = 0;      ///< > 0 with causal: visible iff also query - key < window
  std::int64_t query_tile = 0;  ///< rounded up to row_quantum; 0: all queries at once
  std::int64_t key_tile = 0;    ///< rounded up to key_quantum; 0: all keys at once
};

struct AttentionShape {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t head_dim = 0;
};

/// What an attention call may be given besides queries, keys and values. Every view may be empty.
struct AttentionExtras {
  TensorView<const float, 2> gate{};   ///< [N, heads]: factor of each head's output
  TensorView<const float, 2> mask{};   ///< [N, M]: added to the scaled logits, natural base; -infinity hides
  TensorView<float, 2> natural_lse{};  ///< [N, heads]: receives the log-sum-exp; -infinity where nothing is seen
  std::int64_t query_begin = 0;        ///< position of query row 0
  std::int64_t key_begin = 0;          ///< position of key row 0; a multiple of key_quantum
};

/// Attention evaluated tile by tile over stores of keys and values, so that neither the logits nor (with a store that
/// keeps them elsewhere) K and V ever exist on the device as a whole.
///
/// Computes  out = softmax(scale * q k^T + mask) v, per head times gate
/// Shapes    q and out [N, heads * head_dim], K and V [M, kv_heads * head_dim]; N, M >= 0; no key: out 0, lse -infinity
/// Memory    workspace_bytes: the fp32 state of one query tile, N' * heads * (head_dim + 2) floats, and the backend's
///           scratch of one tile; the slots of the stores belong to the stores. out may be q
/// Cost      4 * N * M * heads * head_dim flops (half of it when causal and N = M); K and V read ceil(N / query_tile)
///           times
/// Numerics  softmax state and sums in fp32; on the CPU backend bit-identical for every query tile, key tile, store and
///           number of threads
/// Stream    ordered on backend.stream(), does not synchronise
/// Throws    ShapeError, OutOfMemory
/// Source    Dao et al., "FlashAttention", 2022, algorithm 1, with the running maximum of Milakov and Gimelshein
template <Element T, AttentionBackend<T> Backend>
class TiledAttention {
 public:
  explicit TiledAttention(const TiledAttentionOptions& options) : options_(options) {
    if (options_.kv_heads == 0) options_.kv_heads = options_.heads;
    expects(options_.heads > 0 && options_.kv_heads > 0 && options_.heads % options_.kv_heads == 0,
            "tiled_attention: heads ", options_.heads, " not a multiple of kv_heads ", options_.kv_heads);
    expects(options_.query_tile >= 0 && options_.key_tile >= 0, "tiled_attention: query_tile ", options_.query_tile,
            ", key_tile ", options_.key_tile, ", expected at least 0");
    expects(options_.window >= 0 && (options_.window == 0 || options_.causal), "tiled_attention: window ",
            options_.window, ", expected 0 unless causal");
    options_.query_tile = round_up(options_.query_tile, row_quantum);
    options_.key_tile = round_up(options_.key_tile, key_quantum);
  }

  /// The options in force: tiles rounded up, kv_heads filled in.
  const TiledAttentionOptions& options() const noexcept { return options_; }
  std::int64_t query_tile(std::int64_t queries) const noexcept { return tile_of(options_.query_tile, queries); }
  std::int64_t key_tile(std::int64_t keys) const noexcept { return tile_of(options_.key_tile, keys); }

  static std::size_t workspace_bytes(const Backend& backend, const AttentionShape& shape,
                                     const TiledAttentionOptions& options) {
    const TiledAttention attention(options);
    if (shape.queries == 0) return 0;
    const std::int64_t rows = attention.query_tile(shape.queries);
    return OnlineSoftmax<Backend>::workspace_bytes(rows, options.heads, shape.head_dim) +
           attention.accumulate_workspace_bytes(backend, {rows, shape.keys, shape.head_dim});
  }

  /// What accumulate takes from its arena.
  std::size_t accumulate_workspace_bytes(const Backend& backend, const AttentionShape& shape) const {
    if (shape.queries == 0 || shape.keys == 0) return 0;
    AttentionTile<T> tile = blank_tile(shape.head_dim);
    tile.q = {nullptr, {query_tile(shape.queries), options_.heads * shape.head_dim}};
    tile.k = {nullptr, {key_tile(shape.keys), options_.kv_heads * shape.head_dim}};
    tile.v = tile.k;
    return backend.attention_workspace_bytes(tile);
  }

  template <RowStoreOf<Backend, T> Keys, RowStoreOf<Backend, T> Values>
  void operator()(Backend& backend, TensorView<const T, 2> q, Keys& keys, Values& values, TensorView<T, 2> out,
                  Arena& arena, const AttentionExtras& extras = {}) const {
    const std::int64_t head_dim = check(q, keys.rows(), keys.width(), values.rows(), values.width(), extras);
    expects(out.extents() == q.extents(), "tiled_attention: out ", out.extent(0), " x ", out.extent(1), ", queries ",
            q.extent(0), " x ", q.extent(1));
    for_each_query_tile(backend, q.extent(0), [&](std::int64_t begin, std::int64_t count) {
      const auto scope = arena.scope();
      OnlineSoftmax<Backend> state(backend, arena, count, options_.heads, head_dim);
      const AttentionExtras part = rows_of(extras, begin, count);
      append_keys(backend, q.rows(begin, count), keys, values, state.view(), arena, part, begin + count < q.extent(0));
      state.finalize(out.rows(begin, count), part.gate, part.natural_lse);
    });
  }

  /// The same on keys and values that lie on the device as a whole.
  void operator()(Backend& backend, TensorView<const T, 2> q, TensorView<const T, 2> k, TensorView<const T, 2> v,
                  TensorView<T, 2> out, Arena& arena, const AttentionExtras& extras = {}) const {
    BorrowedRowStore<T> keys(k);
    BorrowedRowStore<T> values(v);
    (*this)(backend, q, keys, values, out, arena, extras);
  }

  /// Appends all keys of the stores to a state that the caller carries on: attention whose keys come in portions. The
  /// portions' key_begin are multiples of key_quantum and ascend; gate and natural_lse wait for the state's finalize.
  template <RowStoreOf<Backend, T> Keys, RowStoreOf<Backend, T> Values>
  void accumulate(Backend& backend, TensorView<const T, 2> q, Keys& keys, Values& values, SoftmaxStateView state,
                  Arena& arena, const AttentionExtras& extras = {}) const {
    check(q, keys.rows(), keys.width(), values.rows(), values.width(), extras);
    expects(extras.gate.empty() && extras.natural_lse.empty(),
            "tiled_attention: accumulate takes no gate and no lse, finalize of the state does");
    for_each_query_tile(backend, q.extent(0), [&](std::int64_t begin, std::int64_t count) {
      append_keys(backend, q.rows(begin, count), keys, values, state.rows(begin, count), arena,
                  rows_of(extras, begin, count), begin + count < q.extent(0));
    });
  }

  void accumulate(Backend& backend, TensorView<const T, 2> q, TensorView<const T, 2> k, TensorView<const T, 2> v,
                  SoftmaxStateView state, Arena& arena, const AttentionExtras& extras = {}) const {
    BorrowedRowStore<T> keys(k);
    BorrowedRowStore<T> values(v);
    accumulate(backend, q, keys, values, state, arena, extras);
  }

 private:
  static std::int64_t tile_of(std::int64_t tile, std::int64_t total) noexcept {
    return tile == 0 ? total : std::min(tile, total);
  }

  static AttentionExtras rows_of(const AttentionExtras& extras, std::int64_t begin, std::int64_t count) {
    AttentionExtras part = extras;
    if (extras.gate.extent(0) > 0) part.gate = extras.gate.rows(begin, count);
    if (extras.mask.extent(0) > 0) part.mask = extras.mask.rows(begin, count);
    if (extras.natural_lse.extent(0) > 0) part.natural_lse = extras.natural_lse.rows(begin, count);
    part.query_begin += begin;
    return part;
  }

  AttentionTile<T> blank_tile(std::int64_t head_dim) const {
    AttentionTile<T> tile;
    tile.heads = options_.heads;
    tile.kv_heads = options_.kv_heads;
    tile.scale = options_.scale != 0.0F ? options_.scale : 1.0F / std::sqrt(static_cast<float>(head_dim));
    tile.causal = options_.causal;
    tile.window = options_.window;
    return tile;
  }

  /// Head dimension of operands that fit together.
  std::int64_t check(TensorView<const T, 2> q, std::int64_t keys, std::int64_t key_width, std::int64_t values,
                     std::int64_t value_width, const AttentionExtras& extras) const {
    const std::int64_t head_dim = q.extent(1) / options_.heads;
    expects(head_dim > 0 && head_dim * options_.heads == q.extent(1), "tiled_attention: query width ", q.extent(1),
            " does not hold ", options_.heads, " heads");
    expects(keys == values, "tiled_attention: key tokens ", keys, ", value tokens ", values);
    expects(key_width == head_dim * options_.kv_heads, "tiled_attention: key width ", key_width, ", expected ",
            head_dim * options_.kv_heads);
    expects(value_width == key_width, "tiled_attention: key width ", key_width, ", value width ", value_width);
    expects(extras.key_begin >= 0 && extras.key_begin % key_quantum == 0, "tiled_attention: key_begin ",
            extras.key_begin, ", expected a multiple of ", key_quantum);
    const Extents<2> per_head{q.extent(0), options_.heads};
    expects(extras.gate.empty() || extras.gate.extents() == per_head, "tiled_attention: gate ", extras.gate.extent(0),
            " x ", extras.gate.extent(1), ", expected ", per_head[0], " x ", per_head[1]);
    expects(extras.natural_lse.empty() || extras.natural_lse.extents() == per_head, "tiled_attention: lse ",
            extras.natural_lse.extent(0), " x ", extras.natural_lse.extent(1), ", expected ", per_head[0], " x ",
            per_head[1]);
    expects(extras.mask.empty() || extras.mask.extents() == Extents<2>{q.extent(0), keys}, "tiled_attention: mask ",
            extras.mask.extent(0), " x ", extras.mask.extent(1), ", expected ", q.extent(0), " x ", keys);
    return head_dim;
  }

  template <class Body>
  void for_each_query_tile(Backend& backend, std::int64_t queries, Body&& body) const {
    if (queries == 0) return;
    const std::int64_t tile = query_tile(queries);
    if (!options_.causal) {
      for_each_tile(backend, queries, tile, body);
      return;
    }
    // Causal turns see different numbers of keys, so no turn may stand for another.
    for (std::int64_t begin = 0; begin < queries; begin += tile) body(begin, std::min(tile, queries - begin));
  }

  /// Appends the visible key tiles to the state of one query tile, bringing the next tile while one is at work.
  template <class Keys, class Values>
  void append_keys(Backend& backend, TensorView<const T, 2> q, Keys& keys, Values& values, SoftmaxStateView state,
                   Arena& arena, const AttentionExtras& extras, bool more_queries) const {
    const std::int64_t total = keys.rows();
    if (total == 0) return;
    const std::int64_t tile = key_tile(total);
    std::int64_t first = 0;
    std::int64_t end = total;
    if (options_.causal) {
      const std::int64_t last_query = extras.query_begin + q.extent(0) - 1;
      end = std::clamp<std::int64_t>(last_query - extras.key_begin + 1, 0, total);
      if (options_.window > 0) {
        const std::int64_t hidden = extras.query_begin - options_.window + 1 - extras.key_begin;
        first = std::clamp<std::int64_t>(hidden, 0, total) / tile * tile;
      }
      if (first >= end) return;
      end = std::min(total, round_up(end, tile));
    }
    for_each_tile(backend, end - first, tile, [&](std::int64_t offset, std::int64_t count) {
      const std::int64_t begin = first + offset;
      keys.prefetch(backend, begin, count);
      values.prefetch(backend, begin, count);
      AttentionTile<T> arguments = blank_tile(q.extent(1) / options_.heads);
      arguments.q = q;
      arguments.k = keys.load(backend, begin, count);
      arguments.v = values.load(backend, begin, count);
      const bool last = begin + count >= end;
      if (!last || more_queries) {
        const std::int64_t next = last ? first : begin + count;
        keys.prefetch(backend, next, std::min(tile, total - next));
        values.prefetch(backend, next, std::min(tile, total - next));
      }
      arguments.query_begin = extras.query_begin;
      arguments.key_begin = extras.key_begin + begin;
      if (extras.mask.extent(0) > 0) arguments.mask = extras.mask.columns(begin, count);
      backend.attention_append(arguments, state, arena);
    });
  }

  TiledAttentionOptions options_;
};

}  // namespace ltxmem
