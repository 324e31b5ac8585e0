// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/core/shape.hpp"
#include "ltxmem/core/shares.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem {

/// Rows of one tensor in several places, consecutive rows in each, one place after another.
///
/// Memory    borrows the tensors; taken from stores, every one of these has its share of the rows, in proportion to its
///           weight, until the scopes of their arenas end
/// Throws    ShapeError for rows or columns outside
template <class T>
class SpreadRows {
 public:
  /// All of them in one place, that of the caller.
  explicit SpreadRows(TensorView<T, 2> rows) : parts_{rows}, extents_(rows.extents()) {}

  /// Of other devices.
  SpreadRows(const char* name, const Extents<2>& extents, std::span<StoreArena> stores)
      : extents_(extents), peers_(true) {
    std::vector<double> weights;
    for (const StoreArena& store : stores) weights.push_back(store.weight);
    const std::vector<std::int64_t> shares = weighted_shares(extents[0], weights);
    for (std::size_t i = 0; i < shares.size(); ++i) {
      parts_.push_back(stores[i].arena.take<T, 2>(name, {shares[i], extents[1]}));
    }
  }

  std::int64_t rows() const noexcept { return extents_[0]; }
  std::int64_t width() const noexcept { return extents_[1]; }
  /// Whether other devices have them.
  bool are_of_peers() const noexcept { return peers_; }

  SpreadRows columns(std::int64_t begin, std::int64_t count) const {
    expects_range("spread rows: columns", begin, count, width());
    SpreadRows part = *this;
    part.extents_[1] = count;
    for (TensorView<T, 2>& rows : part.parts_) rows = rows.columns(begin, count);
    return part;
  }

  /// fn(offset, rows) for every place where some of the rows [begin, begin + count) lie; offset counts from begin.
  template <class Fn>
  void for_each_part(std::int64_t begin, std::int64_t count, Fn&& fn) const {
    expects_range("spread rows: rows", begin, count, rows());
    std::int64_t first = 0;  // of the part
    for (const TensorView<T, 2>& part : parts_) {
      const std::int64_t from = std::max(begin, first);
      const std::int64_t to = std::min(begin + count, first + part.extent(0));
      if (from < to) fn(from - begin, part.rows(from - first, to - from));
      first += part.extent(0);
    }
  }

 private:
  std::vector<TensorView<T, 2>> parts_;
  Extents<2> extents_;
  bool peers_ = false;
};

namespace detail {

template <class Backend, class T, class Copy>
typename Backend::Event copy_parts(Backend& backend, CopyQueue queue, const SpreadRows<T>& rows, std::int64_t begin,
                                   std::int64_t count, const Copy& copy) {
  if constexpr (HasPeerTransfer<Backend>) {
    // A dry run, which has one tile stand for others that may lie in one place or in two.
    if (rows.are_of_peers()) return backend.peer_transfer(queue, byte_count<T>(Extents<2>{count, rows.width()}));
  }
  typename Backend::Event done{};
  rows.for_each_part(begin, count, [&](std::int64_t offset, TensorView<T, 2> part) { done = copy(offset, part); });
  return done;
}

}  // namespace detail

/// Starts a copy for every place where some of the rows from `begin` on lie, as many as the rows of one place at the
/// other end has. Gives the event of the last, which ends last.
template <class Backend, class T>
typename Backend::Event copy_async(Backend& backend, CopyQueue queue, const SpreadRows<T>& from, std::int64_t begin,
                                   TensorView<T, 2> to) {
  return detail::copy_parts(
      backend, queue, from, begin, to.extent(0), [&](std::int64_t offset, TensorView<T, 2> part) {
        return backend.copy_async(queue, TensorView<const T, 2>(part), to.rows(offset, part.extent(0)));
      });
}
template <class Backend, class T>
typename Backend::Event copy_async(Backend& backend, CopyQueue queue, TensorView<const T, 2> from,
                                   const SpreadRows<T>& to, std::int64_t begin) {
  return detail::copy_parts(backend, queue, to, begin, from.extent(0),
                            [&](std::int64_t offset, TensorView<T, 2> part) {
                              return backend.copy_async(queue, from.rows(offset, part.extent(0)), part);
                            });
}

}  // namespace ltxmem
