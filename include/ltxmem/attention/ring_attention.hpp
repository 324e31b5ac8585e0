// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ltxmem/attention/online_softmax.hpp"
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "ltxmem/parallel/partition.hpp"
#include "ltxmem/parallel/ring_row_store.hpp"

namespace ltxmem {

/// Attention over a sequence that no rank holds: every rank keeps its queries, keys and values go round.
///
/// Computes  out = softmax(scale * q k^T + mask) v for the queries of this rank and the keys of all, per head times
///           gate. Positions under a causal mask are those of the partitions
/// Shapes    q and out [N_r, heads * head_dim]; the store holds [M_r, 2 * kv_heads * head_dim]: a key row, then its
///           value row, so that a hop is one message. N_r, M_r >= 0 differ from rank to rank and from each other, as
///           in attention across modalities. mask [N_r, all keys in the order of positions]
/// Memory    workspace_bytes: the fp32 state of all local queries, N_r * heads * (head_dim + 2) floats, and the
///           backend's scratch of one tile; with one rank what TiledAttention needs. The store brings its two shards.
///           out may be q
/// Cost      4 * N_r * M * heads * head_dim flops (without what the mask hides); R - 1 hops, each sent while the tile
///           before it is computed: (M - M_(r+1)) * 2 * kv_heads * head_dim * sizeof(T) bytes
/// Numerics  (O, m, s) in fp32 from the first shard to the last, rounded once, so that the error of narrow types does
///           not grow with the ring. A rank appends its own shard first, then those of the ranks before it: the same
///           bits in every run, but equal to those of another number of ranks only up to fp32 rounding
/// Stream    ordered on backend.stream(); the messages run beside it
/// Throws    ShapeError, OutOfMemory, RankError
/// Source    Liu, Zaharia and Abbeel, "Ring Attention with Blockwise Transformers", 2023; the balanced causal order of
///           Brandon et al., "Striped Attention", 2023, on blocks (Partition::zigzag)
template <Element T, AttentionBackend<T> Backend, Communicator<Backend> Ranks>
class RingAttention {
 public:
  using Store = RingRowStore<T, Ranks>;

  explicit RingAttention(const TiledAttentionOptions& options) : tiled_(options) {}

  const TiledAttentionOptions& options() const noexcept { return tiled_.options(); }

  static std::size_t workspace_bytes(const Backend& backend, int rank, const Partition& queries, const Partition& keys,
                                     std::int64_t head_dim, const TiledAttentionOptions& options) {
    const RingAttention ring(options);
    const std::int64_t rows = queries.count(rank);
    if (is_in_order(queries, keys)) {
      return TiledAttention<T, Backend>::workspace_bytes(backend, {rows, keys.total(), head_dim}, options);
    }
    return OnlineSoftmax<Backend>::workspace_bytes(rows, options.heads, head_dim) +
           ring.scratch_bytes(backend, rank, queries, keys, head_dim);
  }

  /// kv holds this rank's keys and values, and nothing of use afterwards.
  void operator()(Backend& backend, TensorView<const T, 2> q, Store& kv, const Partition& queries,
                  const Partition& keys, TensorView<T, 2> out, Arena& arena, const AttentionExtras& extras = {}) const {
    const int rank = kv.owner();
    check(q, kv, queries, keys, out, rank, extras);
    const Step step(backend, "ring attention");
    if (is_in_order(queries, keys)) {
      tiled_(backend, q, key_columns(kv.rows()), value_columns(kv.rows()), out, arena, extras);
      return;
    }
    const auto scope = arena.scope();
    OnlineSoftmax<Backend> state(backend, arena, q.extent(0), options().heads, q.extent(1) / options().heads);
    for (int hop = 0; hop < keys.ranks(); ++hop) {
      const Step hop_step(backend, "hop", hop);
      const bool last = hop + 1 == keys.ranks();
      if (!last) kv.start(backend);
      append(backend, q, kv.rows(), queries.segments(rank), keys.segments(kv.owner()), state.view(), arena,
             extras.mask);
      if (!last) kv.advance(backend);
    }
    state.finalize(out, extras.gate, extras.natural_lse);
  }

 private:
  /// One rank whose rows lie in the order of their positions has nothing to carry from shard to shard.
  static bool is_in_order(const Partition& queries, const Partition& keys) {
    return keys.ranks() == 1 && keys.segments(0).size() <= 1 && queries.segments(0).size() <= 1;
  }

  TensorView<const T, 2> key_columns(TensorView<const T, 2> rows) const { return rows.columns(0, rows.extent(1) / 2); }
  TensorView<const T, 2> value_columns(TensorView<const T, 2> rows) const {
    return rows.columns(rows.extent(1) / 2, rows.extent(1) / 2);
  }

  bool is_visible(const Segment& query, const Segment& key) const noexcept {
    if (query.count == 0 || key.count == 0) return false;
    if (!options().causal) return true;
    return key.begin < query.end() && (options().window == 0 || query.begin - key.end() + 1 < options().window);
  }

  /// One shard of keys. Under a mask its segments are taken one by one, under a causal one those of the queries too,
  /// numbered from the segment's first key on: a distance is all that it looks at.
  void append(Backend& backend, TensorView<const T, 2> q, TensorView<const T, 2> kv, std::span<const Segment> queries,
              std::span<const Segment> keys, SoftmaxStateView state, Arena& arena,
              TensorView<const float, 2> mask) const {
    if (!options().causal && mask.empty()) {
      tiled_.accumulate(backend, q, key_columns(kv), value_columns(kv), state, arena);
      return;
    }
    const std::array<Segment, 1> all{{{0, q.extent(0)}}};
    if (!options().causal) queries = all;
    std::int64_t row = 0;
    for (const Segment& query : queries) {
      std::int64_t key_row = 0;
      for (const Segment& key : keys) {
        if (is_visible(query, key)) {
          AttentionExtras part;
          part.query_begin = query.begin - key.begin;
          if (!mask.empty()) part.mask = mask.rows(row, query.count).columns(key.begin, key.count);
          const auto rows = kv.rows(key_row, key.count);
          tiled_.accumulate(backend, q.rows(row, query.count), key_columns(rows), value_columns(rows),
                            state.rows(row, query.count), arena, part);
        }
        key_row += key.count;
      }
      row += query.count;
    }
  }

  /// The most that one accumulate takes. Under a causal mask some tiles see nothing, and take nothing.
  std::size_t scratch_bytes(const Backend& backend, int rank, const Partition& queries, const Partition& keys,
                            std::int64_t head_dim) const {
    std::size_t most = 0;
    for (int owner = 0; owner < keys.ranks(); ++owner) {
      if (!options().causal) {
        most = std::max(most,
                        tiled_.accumulate_workspace_bytes(backend, {queries.count(rank), keys.count(owner), head_dim}));
        continue;
      }
      for (const Segment& query : queries.segments(rank)) {
        for (const Segment& key : keys.segments(owner))
          most = std::max(most, pair_bytes(backend, query, key, head_dim));
      }
    }
    return most;
  }

  std::size_t pair_bytes(const Backend& backend, const Segment& query, const Segment& key,
                         std::int64_t head_dim) const {
    const std::int64_t tile = std::max<std::int64_t>(tiled_.query_tile(query.count), 1);
    std::size_t most = 0;
    for (std::int64_t begin = 0; begin < query.count; begin += tile) {
      const Segment part{query.begin + begin, std::min(tile, query.count - begin)};
      if (!is_visible(part, key)) continue;
      most = std::max(most, tiled_.accumulate_workspace_bytes(backend, {part.count, key.count, head_dim}));
    }
    return most;
  }

  void check(TensorView<const T, 2> q, const Store& kv, const Partition& queries, const Partition& keys,
             TensorView<T, 2> out, int rank, const AttentionExtras& extras) const {
    expects(queries.ranks() == keys.ranks() && kv.counts().size() == static_cast<std::size_t>(keys.ranks()),
            "ring_attention: queries of ", queries.ranks(), " ranks, keys of ", keys.ranks(), ", a store of ",
            kv.counts().size());
    expects(kv.hops() == 0, "ring_attention: the store has gone round already, ", kv.hops(), " hops");
    expects(std::equal(kv.counts().begin(), kv.counts().end(), keys.counts().begin()),
            "ring_attention: the store's counts are not those of the keys");
    expects(q.extent(0) == queries.count(rank), "ring_attention: rank ", rank, " with ", q.extent(0),
            " queries, expected ", queries.count(rank));
    expects(out.extents() == q.extents(), "ring_attention: out ", out.extent(0), " x ", out.extent(1), ", queries ",
            q.extent(0), " x ", q.extent(1));
    const std::int64_t head_dim = q.extent(1) / options().heads;
    expects(head_dim > 0 && head_dim * options().heads == q.extent(1), "ring_attention: query width ", q.extent(1),
            " does not hold ", options().heads, " heads");
    expects(kv.width() == 2 * options().kv_heads * head_dim, "ring_attention: rows of the store ", kv.width(),
            ", expected ", 2 * options().kv_heads * head_dim);
    expects(extras.query_begin == 0 && extras.key_begin == 0,
            "ring_attention: positions are those of the partitions, expected query_begin and key_begin 0");
    expects(extras.mask.empty() || extras.mask.extents() == Extents<2>{q.extent(0), keys.total()},
            "ring_attention: mask ", extras.mask.extent(0), " x ", extras.mask.extent(1), ", expected ", q.extent(0),
            " x ", keys.total());
    const Extents<2> per_head{q.extent(0), options().heads};
    expects(extras.gate.empty() || extras.gate.extents() == per_head, "ring_attention: gate ", extras.gate.extent(0),
            " x ", extras.gate.extent(1), ", expected ", per_head[0], " x ", per_head[1]);
    expects(extras.natural_lse.empty() || extras.natural_lse.extents() == per_head, "ring_attention: lse ",
            extras.natural_lse.extent(0), " x ", extras.natural_lse.extent(1), ", expected ", per_head[0], " x ",
            per_head[1]);
  }

  TiledAttention<T, Backend> tiled_;
};

}  // namespace ltxmem
