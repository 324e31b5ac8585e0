// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <variant>

#include "ltxmem/core/device.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/stores/host_row_store.hpp"
#include "ltxmem/stores/row_store.hpp"
#include "ltxmem/stores/spread_rows.hpp"

namespace ltxmem {

/// Rows in the memory space that the caller names at run time: one type for every placement, so that a program which
/// leaves the choice open is compiled once.
///
/// Shapes    rows [N, W]; tiles of at most `tile` rows
/// Memory    device: N * W elements of the device arena. pinned: N * W elements of the pinned arena, or where the
///           workspace has stores, of these (SpreadRows), and the slots of HostRowStore, 2 * tile * W elements, of the
///           device arena; a tile longer than N counts as N. All stay until the scopes of the arenas end, which the
///           store must not outlive
/// Stream    as ResidentRowStore and HostRowStore
/// Throws    ShapeError for tiles that are too long or lie outside, and for another space; OutOfMemory
template <Element T, HasCopy<T> Backend>
class PlacedRowStore {
 public:
  using value_type = T;

  PlacedRowStore(Backend& backend, const char* name, const Extents<2>& extents, std::int64_t tile, MemorySpace space,
                 Workspace& workspace)
      : store_(make(backend, name, extents, tile, space, workspace)) {}

  /// Rows that lie on the device already.
  explicit PlacedRowStore(TensorView<T, 2> rows) : store_(ResidentRowStore<T>(rows)) {}

  std::int64_t rows() const {
    return std::visit([](const auto& store) { return store.rows(); }, store_);
  }
  std::int64_t width() const {
    return std::visit([](const auto& store) { return store.width(); }, store_);
  }

  TensorView<const T, 2> load(Backend& backend, std::int64_t begin, std::int64_t count) {
    return std::visit([&](auto& store) { return store.load(backend, begin, count); }, store_);
  }
  void prefetch(Backend& backend, std::int64_t begin, std::int64_t count) {
    std::visit([&](auto& store) { store.prefetch(backend, begin, count); }, store_);
  }
  TensorView<T, 2> stage(Backend& backend, std::int64_t begin, std::int64_t count) {
    return std::visit([&](auto& store) { return store.stage(backend, begin, count); }, store_);
  }
  void store(Backend& backend, std::int64_t begin, std::int64_t count) {
    std::visit([&](auto& store) { store.store(backend, begin, count); }, store_);
  }
  PlacedRowStore columns(std::int64_t begin, std::int64_t count) {
    return std::visit([&](auto& store) { return PlacedRowStore(Store(store.columns(begin, count))); }, store_);
  }

 private:
  using Store = std::variant<ResidentRowStore<T>, HostRowStore<T, Backend>>;

  explicit PlacedRowStore(Store store) : store_(std::move(store)) {}

  static Store make(Backend& backend, const char* name, const Extents<2>& extents, std::int64_t tile, MemorySpace space,
                    Workspace& workspace) {
    expects(space != MemorySpace::host, "row store ", name, ": host memory that is not pinned");
    if (space == MemorySpace::device) return ResidentRowStore<T>(workspace.device.take<T>(name, extents));
    const std::int64_t slot = std::min(tile, extents[0]);
    if (workspace.stores.empty()) {
      return HostRowStore<T, Backend>(backend, workspace.pinned.take<T>(name, extents), workspace.device, slot);
    }
    return HostRowStore<T, Backend>(backend, SpreadRows<T>(name, extents, workspace.stores), workspace.device, slot);
  }

  Store store_;
};

}  // namespace ltxmem
