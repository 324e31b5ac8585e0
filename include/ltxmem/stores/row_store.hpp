// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/core/tensor_view.hpp"

/// Where a long tensor lives: rows by tokens, reached tile by tile. A memory scheme is a choice of stores.
///
/// A RowStore s on a backend b provides
///   s.rows(), s.width()            extents of the whole tensor
///   s.load(b, begin, count)        the rows [begin, begin + count), readable by work given to b from now on; the view
///                                  holds until the next load or stage of the store; a prefetch leaves it alone
///   s.prefetch(b, begin, count)    starts to bring rows that the next load will ask for; may do nothing
///   s.columns(begin, count)        a store of these columns only (a group of heads); it borrows the memory of s, which
///                                  must outlive it and is left alone meanwhile
/// and a WritableRowStore also
///   s.stage(b, begin, count)       the place to write these rows to; holds their old content when they were the last
///                                  ones loaded, so rows can be updated in place
///   s.store(b, begin, count)       the staged rows have been written: later loads see them
/// Every range lies in [0, rows()) and is at most as long as the tile the store was made for, if it has one.

namespace ltxmem {

template <class S, class B>
concept RowStore = Element<typename S::value_type> && requires(S& s, const S& cs, B& b, std::int64_t n) {
  { cs.rows() } -> std::same_as<std::int64_t>;
  { cs.width() } -> std::same_as<std::int64_t>;
  { s.load(b, n, n) } -> std::same_as<TensorView<const typename S::value_type, 2>>;
  s.prefetch(b, n, n);
  { s.columns(n, n) } -> std::same_as<S>;
};

/// A store of one element type.
template <class S, class B, class T>
concept RowStoreOf = RowStore<S, B> && std::same_as<typename S::value_type, T>;

template <class S, class B>
concept WritableRowStore = RowStore<S, B> && requires(S& s, B& b, std::int64_t n) {
  { s.stage(b, n, n) } -> std::same_as<TensorView<typename S::value_type, 2>>;
  s.store(b, n, n);
};

/// Every row on the device, all the time: loading is taking a view.
///
/// Memory    borrows the tensor; nothing else
/// Throws    ShapeError for rows or columns outside the tensor
template <Element T>
class ResidentRowStore {
 public:
  using value_type = T;

  explicit ResidentRowStore(TensorView<T, 2> rows) noexcept : view_(rows) {}

  std::int64_t rows() const noexcept { return view_.extent(0); }
  std::int64_t width() const noexcept { return view_.extent(1); }

  template <class Backend>
  TensorView<const T, 2> load(Backend&, std::int64_t begin, std::int64_t count) const {
    return view_.rows(begin, count);
  }
  template <class Backend>
  void prefetch(Backend&, std::int64_t, std::int64_t) const noexcept {}

  template <class Backend>
  TensorView<T, 2> stage(Backend&, std::int64_t begin, std::int64_t count) const {
    return view_.rows(begin, count);
  }
  template <class Backend>
  void store(Backend&, std::int64_t, std::int64_t) const noexcept {}

  ResidentRowStore columns(std::int64_t begin, std::int64_t count) const {
    return ResidentRowStore(view_.columns(begin, count));
  }

 private:
  TensorView<T, 2> view_;
};

/// Rows that are only read: a tensor that belongs to somebody else.
template <Element T>
class BorrowedRowStore {
 public:
  using value_type = T;

  explicit BorrowedRowStore(TensorView<const T, 2> rows) noexcept : view_(rows) {}

  std::int64_t rows() const noexcept { return view_.extent(0); }
  std::int64_t width() const noexcept { return view_.extent(1); }

  template <class Backend>
  TensorView<const T, 2> load(Backend&, std::int64_t begin, std::int64_t count) const {
    return view_.rows(begin, count);
  }
  template <class Backend>
  void prefetch(Backend&, std::int64_t, std::int64_t) const noexcept {}

  BorrowedRowStore columns(std::int64_t begin, std::int64_t count) const {
    return BorrowedRowStore(view_.columns(begin, count));
  }

 private:
  TensorView<const T, 2> view_;
};

/// Starts to bring the tile that begins there, unless the rows have ended.
template <class Backend, RowStore<Backend> Store>
void prefetch_tile(Backend& backend, Store& store, std::int64_t begin, std::int64_t tile) {
  const std::int64_t total = store.rows();
  if (begin < total) store.prefetch(backend, begin, std::min(tile, total - begin));
}

/// fn(begin, rows) for consecutive tiles of all rows, the next tile on its way while fn works on one.
template <class Backend, RowStore<Backend> Store, class Fn>
void read_tiles(Backend& backend, Store& store, std::int64_t tile, Fn&& fn) {
  for_each_tile(backend, store.rows(), tile, [&](std::int64_t begin, std::int64_t count) {
    const auto rows = store.load(backend, begin, count);
    prefetch_tile(backend, store, begin + count, tile);
    fn(begin, rows);
  });
}

/// fn(begin, rows) likewise, with rows that fn changes in place: later loads see what it leaves in them.
template <class Backend, WritableRowStore<Backend> Store, class Fn>
void update_tiles(Backend& backend, Store& store, std::int64_t tile, Fn&& fn) {
  for_each_tile(backend, store.rows(), tile, [&](std::int64_t begin, std::int64_t count) {
    store.load(backend, begin, count);
    const auto rows = store.stage(backend, begin, count);
    prefetch_tile(backend, store, begin + count, tile);
    fn(begin, rows);
    store.store(backend, begin, count);
  });
}

/// fn(begin, rows) for consecutive tiles, with rows that fn writes.
template <class Backend, WritableRowStore<Backend> Store, class Fn>
void write_tiles(Backend& backend, Store& store, std::int64_t tile, Fn&& fn) {
  for_each_tile(backend, store.rows(), tile, [&](std::int64_t begin, std::int64_t count) {
    fn(begin, store.stage(backend, begin, count));
    store.store(backend, begin, count);
  });
}

namespace detail {
struct AnyBackend {};
}  // namespace detail

static_assert(WritableRowStore<ResidentRowStore<float>, detail::AnyBackend>);
static_assert(RowStore<BorrowedRowStore<float>, detail::AnyBackend>);
static_assert(!WritableRowStore<BorrowedRowStore<float>, detail::AnyBackend>);

}  // namespace ltxmem
