// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/stores/row_store.hpp"
#include "ltxmem/stores/spread_rows.hpp"

namespace ltxmem {

/// Rows that live in another memory space, usually pinned host memory, and visit the device tile by tile. They may be
/// spread over several places, the memory of other devices for example: a tile then comes in as many copies.
///
/// Two slots on the device take turns: while work reads one, the backend's copy queue fills the other (prefetch) or
/// empties it (store). A tile that is still in a slot is not brought again, and a staged tile is in its slot.
///
/// Shapes    rows [N, W] in the other space; tiles of at most `tile` rows
/// Memory    workspace_bytes(tile, W) = 2 * tile * W * sizeof(T), each slot rounded up to the arena's alignment, alive
///           until the arena's scope ends; the rows themselves belong to the caller
/// Stream    copies run on the backend's two copy queues and are ordered with its other work; finish() and the
///           destructor wait for them, so the store must go before its slots and its rows do
/// Throws    ShapeError for tiles that are too long or lie outside, OutOfMemory
template <Element T, class Backend>
requires HasCopy<Backend, T> && HasSteps<Backend>
class HostRowStore {
 public:
  using value_type = T;

  static std::size_t workspace_bytes(std::int64_t tile, std::int64_t width) {
    return 2 * aligned_bytes(byte_count<T>(Extents<2>{tile, width}));
  }

  HostRowStore(Backend& backend, TensorView<T, 2> rows, Arena& arena, std::int64_t tile)
      : HostRowStore(backend, SpreadRows<T>(rows), arena, tile) {}
  HostRowStore(Backend& backend, const SpreadRows<T>& rows, Arena& arena, std::int64_t tile)
      : HostRowStore(backend, rows,
                     {arena.take<T, 2>("row store slot 0", {tile, rows.width()}),
                      arena.take<T, 2>("row store slot 1", {tile, rows.width()})}) {}
  /// The other store holds nothing afterwards and may only go.
  HostRowStore(HostRowStore&& other) noexcept
      : backend_(other.backend_),
        rows_(std::move(other.rows_)),
        slots_(std::exchange(other.slots_, {})),
        current_(other.current_) {}
  HostRowStore& operator=(HostRowStore&&) = delete;
  ~HostRowStore() {
    try {
      finish();
    } catch (...) {  // the device has failed: nothing is under way any more, and the next call says so
    }
  }

  std::int64_t rows() const noexcept { return rows_.rows(); }
  std::int64_t width() const noexcept { return rows_.width(); }
  std::int64_t tile() const noexcept { return slots_[0].memory.extent(0); }

  TensorView<const T, 2> load(Backend&, std::int64_t begin, std::int64_t count) {
    bring(begin, count);
    current_ = find(begin, count);
    settle(slots_[current_].arriving);
    return slots_[current_].memory.rows(0, count);
  }

  void prefetch(Backend&, std::int64_t begin, std::int64_t count) { bring(begin, count); }

  TensorView<T, 2> stage(Backend&, std::int64_t begin, std::int64_t count) {
    check(begin, count);
    std::size_t at = find(begin, count);
    if (at == none) {
      at = 1 - current_;
      clear(slots_[at]);
    } else {
      settle(slots_[at].arriving);
      settle(slots_[at].leaving);
    }
    // The other slot may hold some of these rows as they were.
    Slot& other = slots_[1 - at];
    if (overlaps(other, begin, count)) clear(other);
    slots_[at].begin = begin;
    slots_[at].count = count;
    current_ = at;
    return slots_[at].memory.rows(0, count);
  }

  void store(Backend&, std::int64_t begin, std::int64_t count) {
    const std::size_t at = find(begin, count);
    expects(at == current_, "host row store: rows [", begin, ", ", begin + count, ") stored without being staged");
    Slot& slot = slots_[at];
    slot.leaving = {
        copy_async(*backend_, CopyQueue::out, TensorView<const T, 2>(slot.memory.rows(0, count)), rows_, begin), true};
  }

  /// A store of some columns that uses the same slots. Waits for copies under way; what the slots held is forgotten.
  HostRowStore columns(std::int64_t begin, std::int64_t count) {
    const SpreadRows<T> part = rows_.columns(begin, count);
    for (Slot& slot : slots_) clear(slot);
    std::array<TensorView<T, 2>, 2> memory;
    for (std::size_t i = 0; i < 2; ++i) memory[i] = {slots_[i].memory.data(), {tile(), count}};
    return HostRowStore(*backend_, part, memory);
  }

  /// Later work of the backend starts after every copy under way: the rows in the other space are complete.
  void finish() {
    for (Slot& slot : slots_) {
      settle(slot.arriving);
      settle(slot.leaving);
    }
  }

 private:
  static constexpr std::size_t none = 2;

  struct Transfer {
    typename Backend::Event event{};
    bool pending = false;
  };
  struct Slot {
    TensorView<T, 2> memory;
    std::int64_t begin = 0;
    std::int64_t count = 0;  ///< 0: holds nothing
    Transfer arriving;
    Transfer leaving;
  };

  HostRowStore(Backend& backend, SpreadRows<T> rows, const std::array<TensorView<T, 2>, 2>& memory)
      : backend_(&backend), rows_(std::move(rows)) {
    for (std::size_t i = 0; i < 2; ++i) slots_[i].memory = memory[i];
  }

  void check(std::int64_t begin, std::int64_t count) const {
    expects_range("host row store: rows", begin, count, rows());
    expects(count <= tile(), "host row store: ", count, " rows in slots of ", tile());
  }

  static bool overlaps(const Slot& slot, std::int64_t begin, std::int64_t count) noexcept {
    return slot.count > 0 && slot.begin < begin + count && begin < slot.begin + slot.count;
  }

  std::size_t find(std::int64_t begin, std::int64_t count) const noexcept {
    for (std::size_t i = 0; i < 2; ++i) {
      if (slots_[i].begin == begin && slots_[i].count == count) return i;
    }
    return none;
  }

  void settle(Transfer& transfer) {
    if (std::exchange(transfer.pending, false)) backend_->wait(transfer.event);
  }

  /// Makes a slot free to be overwritten.
  void clear(Slot& slot) {
    settle(slot.arriving);
    settle(slot.leaving);
    slot.count = 0;
  }

  /// Starts to fill the slot that is not in use, unless the rows are there or under way.
  void bring(std::int64_t begin, std::int64_t count) {
    check(begin, count);
    if (find(begin, count) != none) return;
    // Rows on their way out of the slot in use are read from the other space only once they have arrived there.
    Slot& used = slots_[current_];
    if (overlaps(used, begin, count)) settle(used.leaving);
    Slot& slot = slots_[1 - current_];
    if (backend_->collapses_loops() && slot.arriving.pending && slot.count == count) {
      slot.begin = begin;  // a collapsed loop has jumped: the tile under way stands for this one
      return;
    }
    clear(slot);
    slot.begin = begin;
    slot.count = count;
    slot.arriving = {copy_async(*backend_, CopyQueue::in, rows_, begin, slot.memory.rows(0, count)), true};
  }

  Backend* backend_;
  SpreadRows<T> rows_;
  std::array<Slot, 2> slots_;
  std::size_t current_ = 0;
};

}  // namespace ltxmem
