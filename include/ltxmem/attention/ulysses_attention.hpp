// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "ltxmem/parallel/partition.hpp"

namespace ltxmem {

/// Attention over a sequence spread over ranks that trade tokens for heads: every rank of a row computes some heads for
/// all tokens of the row. With a second communicator the rows of a grid of ranks are spread too, and their keys and
/// values go round in the columns: heads within a machine, the ring between machines.
///
/// Computes  out = softmax(scale * q k^T + mask) v for the tokens of this rank and the keys of all, per head times gate
/// Shapes    q and out [N_r, heads * head_dim], k and v [M_r, kv_heads * head_dim], partitions over all ranks, ring
/// rank
///           * U + head rank (U ranks in a row); N_r, M_r >= 0. Rank u of a row computes its even share of kv_heads
///           and the heads that read them: any number of heads, those beyond kv_heads idle. gate and natural_lse
///           [N_r, heads], mask [N_r, all keys]; a rank without tokens gives them 0 rows, not 0 columns
/// Memory    workspace_bytes: q of its heads for all tokens of the row, then the ring's two shards of its heads (one
///           where there is no ring) with what RingAttention needs; besides one packed copy of q or of k and v. The
///           mask is gathered whole. out may be q
/// Cost      rank r of row g: the all_to_alls send N_r (H - H_u) head_dim and 2 M_r (K - K_u) head_dim elements there
///           and (N_g - N_r) H_u head_dim back, H heads and K kv_heads; then the ring's hops with shards of the row
/// Numerics  without a ring, the bits of TiledAttention on one rank where shares are contiguous; else RingAttention's
/// Stream    ordered on backend.stream()
/// Throws    ShapeError, OutOfMemory, RankError
/// Source    Jacobs et al., "DeepSpeed Ulysses", 2023; the combination of Fang and Zhao, "USP", 2024
template <Element T, AttentionBackend<T> Backend, Communicator<Backend> HeadRanks,
          Communicator<Backend> RingRanks = SingleRank>
class UlyssesAttention {
 public:
  using Ring = RingAttention<T, Backend, RingRanks>;

  explicit UlyssesAttention(const TiledAttentionOptions& options)
      : options_(TiledAttention<T, Backend>(options).options()) {}

  const TiledAttentionOptions& options() const noexcept { return options_; }

  /// extras: only which of them have columns.
  static std::size_t workspace_bytes(const Backend& backend, const HeadRanks& heads, const RingRanks& ring,
                                     const Partition& queries, const Partition& keys, std::int64_t head_dim,
                                     const TiledAttentionOptions& options, const AttentionExtras& extras = {}) {
    const UlyssesAttention attention(options);
    const Layout at(attention.options_, heads, ring, queries, keys);
    const auto bytes = [](std::int64_t rows, std::int64_t width, std::size_t size) {
      return aligned_bytes(static_cast<std::size_t>(checked_product(rows, width)) * size);
    };
    const bool gated = extras.gate.extent(1) > 0;
    const bool logged = extras.natural_lse.extent(1) > 0;
    std::size_t kept = bytes(at.row_queries(), at.mine.heads * head_dim, sizeof(T));
    const std::size_t packed = bytes(at.rows, options.heads * head_dim, sizeof(T));
    const std::size_t statistic = bytes(at.rows, options.heads, sizeof(float));
    std::size_t most = kept + packed;
    if (gated) {
      kept += bytes(at.row_queries(), at.mine.heads, sizeof(float));
      most = std::max(most, kept + statistic);
    }
    if (extras.mask.extent(1) > 0) kept += bytes(at.row_queries(), keys.total(), sizeof(float));
    if (logged) kept += bytes(at.row_queries(), at.mine.heads, sizeof(float));
    const std::int64_t kv_width = 2 * at.mine.kv_heads * head_dim;
    const std::size_t ring_bytes = at.mine.heads == 0
                                       ? 0
                                       : Ring::workspace_bytes(backend, ring.rank(), at.ring_queries, at.ring_keys,
                                                               head_dim, at.local_options(attention.options_));
    most = std::max(
        most, kept + RingRowStore<T, RingRanks>::workspace_bytes(at.ring_keys.counts(), ring.rank(), kv_width) +
                  std::max(ring_bytes, bytes(at.key_rows, 2 * attention.options_.kv_heads * head_dim, sizeof(T))));
    return std::max(most, kept + std::max(packed, logged ? statistic : 0));
  }

  void operator()(Backend& backend, HeadRanks& heads, RingRanks& ring, TensorView<const T, 2> q,
                  TensorView<const T, 2> k, TensorView<const T, 2> v, const Partition& queries, const Partition& keys,
                  TensorView<T, 2> out, Arena& arena, const AttentionExtras& extras = {}) const {
    const Layout at(options_, heads, ring, queries, keys);
    const std::int64_t head_dim = check(at, q, k, v, out, keys, extras);
    const Step step(backend, "ulysses attention");
    const auto scope = arena.scope();
    const auto mine = arena.take<T, 2>("queries of own heads", {at.row_queries(), at.mine.heads * head_dim});
    to_heads(backend, heads, at, q, mine, arena);
    AttentionExtras part;
    if (extras.gate.extent(1) > 0) {
      const auto gate = arena.take<float, 2>("gate of own heads", {at.row_queries(), at.mine.heads});
      to_heads(backend, heads, at, extras.gate, gate, arena);
      part.gate = gate;
    }
    if (extras.mask.extent(1) > 0) {
      const auto mask = arena.take<float, 2>("mask of the row", {at.row_queries(), keys.total()});
      heads.all_gather(backend, extras.mask, at.query_counts, mask);
      part.mask = mask;
    }
    if (extras.natural_lse.extent(1) > 0) {
      part.natural_lse = arena.take<float, 2>("lse of own heads", {at.row_queries(), at.mine.heads});
    }
    {
      const auto inner = arena.scope();
      RingRowStore<T, RingRanks> kv(ring, at.ring_keys.counts(), 2 * at.mine.kv_heads * head_dim, arena);
      keys_to_heads(backend, heads, at, k, v, head_dim, kv.local(), arena);
      if (at.mine.heads > 0) {
        const Ring attention(at.local_options(options_));
        attention(backend, mine, kv, at.ring_queries, at.ring_keys, mine, arena, part);
      }
    }
    to_tokens(backend, heads, at, TensorView<const T, 2>(mine), out, arena);
    if (extras.natural_lse.extent(1) > 0) {
      to_tokens(backend, heads, at, TensorView<const float, 2>(part.natural_lse), extras.natural_lse, arena);
    }
  }

 private:
  struct Heads {
    std::int64_t heads;
    std::int64_t kv_heads;
  };

  /// Who holds how much: tokens by rank of the row, heads by rank of the row, rows by rank of the ring.
  struct Layout {
    Layout(const TiledAttentionOptions& options, const HeadRanks& row, const RingRanks& ring, const Partition& queries,
           const Partition& keys)
        : shares(Partition::even(options.kv_heads, row.size())),
          group(options.heads / options.kv_heads),
          ring_queries(grouped(queries, row, ring)),
          ring_keys(grouped(keys, row, ring)),
          mine{shares.count(row.rank()) * group, shares.count(row.rank())} {
      const int first = ring.rank() * row.size();
      for (int u = 0; u < row.size(); ++u) {
        query_counts.push_back(queries.count(first + u));
        key_counts.push_back(keys.count(first + u));
        row_query_count += query_counts.back();
      }
      rows = queries.count(first + row.rank());
      key_rows = keys.count(first + row.rank());
    }

    static Partition grouped(const Partition& partition, const HeadRanks& row, const RingRanks& ring) {
      expects(partition.ranks() == row.size() * ring.size(), "ulysses_attention: a partition over ", partition.ranks(),
              " ranks, expected ", row.size(), " x ", ring.size());
      return partition.grouped(row.size());
    }

    std::int64_t row_queries() const noexcept { return row_query_count; }
    TiledAttentionOptions local_options(TiledAttentionOptions options) const {
      options.heads = mine.heads;
      options.kv_heads = mine.kv_heads;
      return options;
    }

    Partition shares;    ///< of kv heads
    std::int64_t group;  ///< heads that read a kv head
    Partition ring_queries;
    Partition ring_keys;
    Heads mine;
    std::vector<std::int64_t> query_counts{};
    std::vector<std::int64_t> key_counts{};
    std::int64_t row_query_count = 0;
    std::int64_t rows = 0;
    std::int64_t key_rows = 0;
  };

  /// counts[u] * factor[u] rows of one head for every rank of the row.
  static std::vector<std::int64_t> times(std::vector<std::int64_t> counts, std::int64_t factor) {
    for (std::int64_t& count : counts) count *= factor;
    return counts;
  }

  /// Heads per rank of the row times this many tokens.
  static std::vector<std::int64_t> head_rows(const Layout& at, std::int64_t per_kv_head, std::int64_t tokens) {
    const auto counts = at.shares.counts();
    return times({counts.begin(), counts.end()}, per_kv_head * tokens);
  }

  /// fn(columns of the heads of rank u, where they lie packed: dense rows) for every rank of the row.
  template <class E, class Fn>
  static void each_share(const Layout& at, TensorView<E, 2> packed, std::int64_t rows, std::int64_t per_kv_head,
                         Fn&& fn) {
    for (int u = 0; u < at.shares.ranks(); ++u) {
      const Segment share = at.shares.segment(u);
      if (share.count == 0 || rows == 0) continue;
      const TensorView<E, 2> part(packed.data() + rows * share.begin * per_kv_head, {rows, share.count * per_kv_head});
      fn(Segment{share.begin * per_kv_head, share.count * per_kv_head}, part);
    }
  }

  /// Own tokens with all heads become all tokens of the row with own heads.
  template <class E>
  void to_heads(Backend& backend, HeadRanks& ranks, const Layout& at, TensorView<const E, 2> from, TensorView<E, 2> to,
                Arena& arena) const {
    const std::int64_t width = from.extent(1) / options_.heads;  // of one head
    const auto scope = arena.scope();
    const auto packed = arena.take<E, 2>("rows by head", {at.rows * options_.heads, width});
    each_share(at, packed, at.rows, at.group * width, [&](const Segment& columns, TensorView<E, 2> part) {
      backend.copy(from.columns(columns.begin, columns.count), part);
    });
    ranks.all_to_all(backend, TensorView<const E, 2>(packed), head_rows(at, at.group, at.rows),
                     to.template reshape<2>({at.row_queries() * at.mine.heads, width}),
                     times(at.query_counts, at.mine.heads));
  }

  /// The same for keys and values, side by side as the ring wants them.
  void keys_to_heads(Backend& backend, HeadRanks& ranks, const Layout& at, TensorView<const T, 2> k,
                     TensorView<const T, 2> v, std::int64_t head_dim, TensorView<T, 2> to, Arena& arena) const {
    const auto scope = arena.scope();
    const auto packed = arena.take<T, 2>("rows by head", {at.key_rows * options_.kv_heads, 2 * head_dim});
    each_share(at, packed, at.key_rows, 2 * head_dim, [&](const Segment& columns, TensorView<T, 2> part) {
      const std::int64_t width = columns.count / 2;
      backend.copy(k.columns(columns.begin / 2, width), part.columns(0, width));
      backend.copy(v.columns(columns.begin / 2, width), part.columns(width, width));
    });
    ranks.all_to_all(backend, TensorView<const T, 2>(packed), head_rows(at, 1, at.key_rows),
                     to.template reshape<2>({to.extent(0) * at.mine.kv_heads, 2 * head_dim}),
                     times(at.key_counts, at.mine.kv_heads));
  }

  /// And back: all tokens of the row with own heads become own tokens with all heads.
  template <class E>
  void to_tokens(Backend& backend, HeadRanks& ranks, const Layout& at, TensorView<const E, 2> from, TensorView<E, 2> to,
                 Arena& arena) const {
    const std::int64_t width = to.extent(1) / options_.heads;
    const auto scope = arena.scope();
    const auto packed = arena.take<E, 2>("rows by head", {at.rows * options_.heads, width});
    ranks.all_to_all(backend, from.template reshape<2>({at.row_queries() * at.mine.heads, width}),
                     times(at.query_counts, at.mine.heads), packed, head_rows(at, at.group, at.rows));
    each_share(at, packed, at.rows, at.group * width, [&](const Segment& columns, TensorView<E, 2> part) {
      backend.copy(TensorView<const E, 2>(part), to.columns(columns.begin, columns.count));
    });
  }

  std::int64_t check(const Layout& at, TensorView<const T, 2> q, TensorView<const T, 2> k, TensorView<const T, 2> v,
                     TensorView<T, 2> out, const Partition& keys, const AttentionExtras& extras) const {
    const std::int64_t head_dim = q.extent(1) / options_.heads;
    expects(head_dim > 0 && head_dim * options_.heads == q.extent(1), "ulysses_attention: query width ", q.extent(1),
            " does not hold ", options_.heads, " heads");
    expects(q.extent(0) == at.rows, "ulysses_attention: ", q.extent(0), " queries, expected ", at.rows);
    expects(k.extents() == Extents<2>{at.key_rows, options_.kv_heads * head_dim}, "ulysses_attention: keys ",
            k.extent(0), " x ", k.extent(1), ", expected ", at.key_rows, " x ", options_.kv_heads * head_dim);
    expects(v.extents() == k.extents(), "ulysses_attention: keys ", k.extent(0), " x ", k.extent(1), ", values ",
            v.extent(0), " x ", v.extent(1));
    expects(out.extents() == q.extents(), "ulysses_attention: out ", out.extent(0), " x ", out.extent(1), ", queries ",
            q.extent(0), " x ", q.extent(1));
    const auto fits = [&](const char* what, const auto& view, std::int64_t columns) {
      expects(view.extent(1) == 0 || view.extents() == Extents<2>{at.rows, columns}, "ulysses_attention: ", what, " ",
              view.extent(0), " x ", view.extent(1), ", expected ", at.rows, " x ", columns);
    };
    fits("gate", extras.gate, options_.heads);
    fits("lse", extras.natural_lse, options_.heads);
    fits("mask", extras.mask, keys.total());
    expects(extras.query_begin == 0 && extras.key_begin == 0,
            "ulysses_attention: positions are those of the partitions, expected query_begin and key_begin 0");
    return head_dim;
  }

  TiledAttentionOptions options_;
};

}  // namespace ltxmem
