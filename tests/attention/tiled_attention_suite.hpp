// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu/attention_suite.hpp"
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/stores/host_row_store.hpp"
#include "ltxmem/stores/recomputed_row_store.hpp"

/// Running a problem through TiledAttention, whatever the tiles, the stores and the number of threads.

namespace ltxmem::test {

enum class Placement { resident, host, recomputed };

struct TiledCut {
  std::int64_t query_tile = 0;
  std::int64_t key_tile = 0;
  Placement placement = Placement::resident;
  int threads = 1;
};

template <class T>
TiledAttentionOptions options_of(const AttentionProblem<T>& p, const TiledCut& cut = {}) {
  return {.heads = p.heads,
          .kv_heads = p.kv_heads,
          .scale = p.scale,
          .causal = p.causal,
          .window = p.window,
          .query_tile = cut.query_tile,
          .key_tile = cut.key_tile};
}

/// Copies the rows of a tile out of a tensor: the recipe of a store that keeps nothing.
template <class T, class Backend>
struct CopyRows {
  TensorView<const T, 2> rows;
  void operator()(Backend& backend, const RowTile& tile, TensorView<T, 2> to) const {
    backend.copy(rows.rows(tile.begin, tile.count).columns(tile.column_begin, tile.column_count), to);
  }
};

/// The problem's attention in an arena of exactly workspace_bytes, with the stores' slots in another.
template <class T, class Backend = CpuBackend<>>
AttentionOutput<T> run_tiled(AttentionProblem<T> p, const TiledCut& cut = {}, const std::vector<float>& gate = {}) {
  Backend backend(CpuOptions{.threads = cut.threads});
  const TiledAttentionOptions options = options_of(p, cut);
  const TiledAttention<T, Backend> attention(options);
  CountingResource resource = [] {
    static HostResource host;
    return CountingResource(host);
  }();
  AttentionOutput<T> result;
  result.out.resize(p.q.size());
  result.lse.resize(static_cast<std::size_t>(p.queries * p.heads));
  const AttentionTile<T> whole = tile_of(p);
  const TensorView<T, 2> out(result.out.data(), whole.q.extents());
  AttentionExtras extras;
  extras.mask = whole.mask;
  extras.natural_lse = {result.lse.data(), {p.queries, p.heads}};
  if (!gate.empty()) extras.gate = TensorView<const float, 2>(gate.data(), {p.queries, p.heads});
  extras.query_begin = p.query_begin;
  extras.key_begin = p.key_begin;

  const std::int64_t tile = std::max<std::int64_t>(attention.key_tile(p.keys), 1);
  HostResource host;
  Arena slots(host, std::size_t{1} << 26);
  {
    const std::size_t bytes =
        TiledAttention<T, Backend>::workspace_bytes(backend, {p.queries, p.keys, p.head_dim}, options);
    Arena arena(resource, bytes);
    if (cut.placement == Placement::resident) {
      attention(backend, whole.q, whole.k, whole.v, out, arena, extras);
    } else if (cut.placement == Placement::host) {
      HostRowStore<T, Backend> keys(backend, {p.k.data(), whole.k.extents()}, slots, tile);
      HostRowStore<T, Backend> values(backend, {p.v.data(), whole.v.extents()}, slots, tile);
      attention(backend, whole.q, keys, values, out, arena, extras);
    } else {
      using Recipe = CopyRows<T, Backend>;
      RecomputedRowStore<T, Recipe> keys(p.keys, whole.k.extent(1), slots, tile, Recipe{whole.k});
      RecomputedRowStore<T, Recipe> values(p.keys, whole.v.extent(1), slots, tile, Recipe{whole.v});
      attention(backend, whole.q, keys, values, out, arena, extras);
    }
    CHECK(arena.peak_bytes() == bytes);
    CHECK(resource.peak_bytes() == bytes);
  }
  return result;
}

}  // namespace ltxmem::test
