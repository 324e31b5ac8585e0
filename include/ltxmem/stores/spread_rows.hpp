// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

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

}  // namespace ltxmem
