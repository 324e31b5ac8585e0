// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/parallel/communicator.hpp"

namespace ltxmem {

/// Rows of all ranks that go round: each rank works on one shard while the next one arrives.
///
/// The rank writes its own rows to local(). start() sends the shard in use to the next rank and receives another from
/// the rank before; advance() waits for both and makes the other the one in use. After h hops that is the shard of rank
/// (r - h) mod R. The rank's own rows are overwritten on the way.
///
/// Shapes    shards [counts[rank], W], counts >= 0
/// Memory    workspace_bytes: two slots, one as large as the largest shard of the even hops, one as that of the odd
///           hops, each rounded up to the arena's alignment; alive until the arena's scope ends. One rank: one slot
/// Cost      hop h sends W * sizeof(T) * counts[(r - h) mod R] bytes, R - 1 hops all rows but those of rank r + 1
/// Stream    messages run beside the backend's work; the store must go before its slots do
/// Throws    ShapeError, OutOfMemory, RankError
template <Element T, class Ranks>
class RingRowStore {
 public:
  using value_type = T;

  static std::size_t workspace_bytes(std::span<const std::int64_t> counts, int rank, std::int64_t width) {
    std::size_t bytes = 0;
    for (const int slot : {0, 1})
      bytes += aligned_bytes(byte_count<T>(Extents<2>{slot_rows(counts, rank, slot), width}));
    return bytes;
  }

  RingRowStore(Ranks& ranks, std::span<const std::int64_t> counts, std::int64_t width, Arena& arena)
      : ranks_(&ranks), counts_(counts.begin(), counts.end()) {
    expects(counts.size() == static_cast<std::size_t>(ranks.size()), "ring row store: ", counts.size(), " counts for ",
            ranks.size(), " ranks");
    slots_[0] = arena.take<T, 2>("ring slot 0", {slot_rows(counts, ranks.rank(), 0), width});
    slots_[1] = arena.take<T, 2>("ring slot 1", {slot_rows(counts, ranks.rank(), 1), width});
  }

  std::int64_t width() const noexcept { return slots_[0].extent(1); }
  std::span<const std::int64_t> counts() const noexcept { return counts_; }
  int hops() const noexcept { return hops_; }
  /// Whose shard is in use.
  int owner() const noexcept { return owner_after(hops_); }

  /// Where this rank writes its rows before the first hop.
  TensorView<T, 2> local() const {
    expects(hops_ == 0 && !arriving_, "ring row store: own rows are on their way after ", hops_, " hops");
    return shard(0);
  }
  /// The shard in use.
  TensorView<const T, 2> rows() const { return shard(hops_); }

  /// The next shard starts to arrive, the one in use to leave; it may still be read.
  template <class Backend>
  void start(Backend& backend) {
    expects(!arriving_ && hops_ + 1 < ranks_->size(), "ring row store: hop ", hops_ + 1, " of ", ranks_->size() - 1);
    const int next = (ranks_->rank() + 1) % ranks_->size();
    const int before = (ranks_->rank() + ranks_->size() - 1) % ranks_->size();
    handle_ = ranks_->exchange(backend, next, rows(), before, shard(hops_ + 1));
    arriving_ = true;
  }

  /// Later work sees the next shard; the one that was in use is gone.
  template <class Backend>
  void advance(Backend& backend) {
    expects(arriving_, "ring row store: hop ", hops_ + 1, " was not started");
    ranks_->wait(backend, handle_);
    arriving_ = false;
    ++hops_;
  }

 private:
  static std::int64_t slot_rows(std::span<const std::int64_t> counts, int rank, int slot) {
    const auto size = static_cast<int>(counts.size());
    std::int64_t rows = 0;
    for (int hop = slot; hop < size; hop += 2) {
      rows = std::max(rows, counts[static_cast<std::size_t>((rank - hop + size) % size)]);
    }
    return rows;
  }

  int owner_after(int hops) const noexcept { return (ranks_->rank() - hops + ranks_->size()) % ranks_->size(); }
  TensorView<T, 2> shard(int hops) const {
    return slots_[static_cast<std::size_t>(hops % 2)].rows(0, counts_[static_cast<std::size_t>(owner_after(hops))]);
  }

  Ranks* ranks_;
  std::vector<std::int64_t> counts_;
  std::array<TensorView<T, 2>, 2> slots_;
  typename Ranks::Handle handle_{};
  bool arriving_ = false;
  int hops_ = 0;
};

}  // namespace ltxmem
