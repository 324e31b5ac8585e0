// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/stores/row_store.hpp"

namespace ltxmem {

/// Which part of a tensor a RecomputedRowStore asks for.
struct RowTile {
  std::int64_t begin = 0;
  std::int64_t count = 0;
  std::int64_t column_begin = 0;
  std::int64_t column_count = 0;
};

/// Rows that exist nowhere: a recipe makes those of a tile when they are asked for.
///
/// Computes  load calls recipe(backend, tile, rows), which writes rows [tile.count, tile.column_count] and must give
/// the
///           same bits for the same row whatever the tile
/// Memory    workspace_bytes(tile, W) = tile * W * sizeof(T), rounded up to the arena's alignment: one slot, alive
/// until
///           the arena's scope ends; and what the recipe uses
/// Cost      one recipe call per load of a tile other than the last one
/// Stream    as the recipe
/// Throws    ShapeError for tiles that are too long or lie outside, OutOfMemory
template <Element T, class Recipe>
class RecomputedRowStore {
 public:
  using value_type = T;

  static std::size_t workspace_bytes(std::int64_t tile, std::int64_t width) {
    return aligned_bytes(byte_count<T>(Extents<2>{tile, width}));
  }

  RecomputedRowStore(std::int64_t rows, std::int64_t width, Arena& arena, std::int64_t tile, Recipe recipe)
      : rows_(rows),
        width_(width),
        slot_(arena.take<T, 2>("recomputed rows", {tile, width})),
        recipe_(std::move(recipe)) {}

  std::int64_t rows() const noexcept { return rows_; }
  std::int64_t width() const noexcept { return width_; }
  std::int64_t tile() const noexcept { return slot_.extent(0); }

  template <class Backend>
  TensorView<const T, 2> load(Backend& backend, std::int64_t begin, std::int64_t count) {
    expects_range("recomputed row store: rows", begin, count, rows_);
    expects(count <= tile(), "recomputed row store: ", count, " rows in a slot of ", tile());
    const TensorView<T, 2> rows = slot_.rows(0, count);
    if (begin != begin_ || count != count_) {
      count_ = 0;  // if the recipe throws, the slot holds neither
      recipe_(backend, RowTile{begin, count, column_begin_, width_}, rows);
      begin_ = begin;
      count_ = count;
    }
    return rows;
  }

  template <class Backend>
  void prefetch(Backend&, std::int64_t, std::int64_t) const noexcept {}

  /// A store of some columns in the same slot; the recipe is asked for those alone.
  RecomputedRowStore columns(std::int64_t begin, std::int64_t count) const {
    expects_range("recomputed row store: columns", begin, count, width_);
    RecomputedRowStore part = *this;
    part.column_begin_ += begin;
    part.width_ = count;
    part.slot_ = {slot_.data(), {slot_.extent(0), count}};
    part.count_ = 0;
    return part;
  }

 private:
  std::int64_t rows_;
  std::int64_t width_;
  std::int64_t column_begin_ = 0;
  TensorView<T, 2> slot_;
  std::int64_t begin_ = 0;
  std::int64_t count_ = 0;  ///< 0: the slot holds nothing
  Recipe recipe_;
};

static_assert(RowStore<RecomputedRowStore<float, void (*)(detail::AnyBackend&, const RowTile&, TensorView<float, 2>)>,
                       detail::AnyBackend>);

}  // namespace ltxmem
