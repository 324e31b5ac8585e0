// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ltxmem/config.hpp"
#include "ltxmem/core/shape.hpp"

/// Borrowed, strided, trivially copyable view of elements somewhere: host memory, a device, or (in a dry run) addresses
/// that must never be dereferenced. Slicing computes addresses and touches no element.
///
/// Strides are in elements, 64-bit. Axis 0 is the slowest in a dense view, but any strides may be wrapped.

namespace ltxmem {

template <class T, std::size_t Rank>
class TensorView {
 public:
  using value_type = std::remove_const_t<T>;
  static constexpr std::size_t rank = Rank;

  /// Empty view: no data, all extents zero.
  constexpr TensorView() noexcept = default;

  /// Dense row-major view of memory that belongs to somebody else.
  LTXMEM_HOST_DEVICE constexpr TensorView(T* data, const Extents<Rank>& extents) noexcept
      : TensorView(data, extents, dense_strides(extents)) {}

  LTXMEM_HOST_DEVICE constexpr TensorView(T* data, const Extents<Rank>& extents, const Extents<Rank>& strides) noexcept
      : data_(data), extents_(extents), strides_(strides) {}

  /// A view of mutable elements is also one of constant elements.
  template <class U>
  requires(std::same_as<const U, T> && !std::same_as<U, T>) LTXMEM_HOST_DEVICE
      constexpr TensorView(const TensorView<U, Rank>& other) noexcept  // NOLINT(google-explicit-constructor)
      : data_(other.data()), extents_(other.extents()), strides_(other.strides()) {}

  LTXMEM_HOST_DEVICE constexpr T* data() const noexcept { return data_; }
  LTXMEM_HOST_DEVICE constexpr const Extents<Rank>& extents() const noexcept { return extents_; }
  LTXMEM_HOST_DEVICE constexpr const Extents<Rank>& strides() const noexcept { return strides_; }
  LTXMEM_HOST_DEVICE constexpr std::int64_t extent(std::size_t axis) const noexcept { return extents_[axis]; }
  LTXMEM_HOST_DEVICE constexpr std::int64_t stride(std::size_t axis) const noexcept { return strides_[axis]; }

  LTXMEM_HOST_DEVICE constexpr std::int64_t size() const noexcept {
    std::int64_t count = 1;
    for (std::size_t axis = 0; axis < Rank; ++axis) count *= extents_[axis];
    return count;
  }
  LTXMEM_HOST_DEVICE constexpr bool empty() const noexcept { return size() == 0; }

  /// True when the elements lie without gaps in row-major order.
  LTXMEM_HOST_DEVICE constexpr bool is_dense() const noexcept {
    std::int64_t stride = 1;
    for (std::size_t axis = Rank; axis-- > 0;) {
      if (extents_[axis] > 1 && strides_[axis] != stride) return false;
      stride *= extents_[axis];
    }
    return true;
  }

  template <std::integral... Index>
  requires(sizeof...(Index) == Rank) LTXMEM_HOST_DEVICE constexpr T& operator()(Index... index) const noexcept {
    const Extents<Rank> at{static_cast<std::int64_t>(index)...};
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < Rank; ++axis) offset += at[axis] * strides_[axis];
    return data_[offset];
  }

  /// The part [begin, begin + count) of one axis. ShapeError when it leaves the view.
  constexpr TensorView slice(std::size_t axis, std::int64_t begin, std::int64_t count) const {
    expects(begin >= 0 && count >= 0 && begin <= extents_[axis] - count, "tensor_view: slice of ", count, " from ",
            begin, " of axis ", axis, " with extent ", extents_[axis]);
    TensorView part = *this;
    part.extents_[axis] = count;
    if (data_ != nullptr) part.data_ += begin * strides_[axis];
    return part;
  }

  constexpr TensorView rows(std::int64_t begin, std::int64_t count) const { return slice(0, begin, count); }
  constexpr TensorView columns(std::int64_t begin, std::int64_t count) const requires(Rank == 2) {
    return slice(1, begin, count);
  }

  /// The view with axis 0 fixed.
  constexpr TensorView<T, Rank - 1> operator[](std::int64_t index) const requires(Rank > 1) {
    Extents<Rank - 1> extents{};
    Extents<Rank - 1> strides{};
    for (std::size_t axis = 1; axis < Rank; ++axis) {
      extents[axis - 1] = extents_[axis];
      strides[axis - 1] = strides_[axis];
    }
    return {data_ + index * strides_[0], extents, strides};
  }

  /// The same elements under another shape; the view must be dense and the counts equal.
  template <std::size_t NewRank>
  constexpr TensorView<T, NewRank> reshape(const Extents<NewRank>& extents) const {
    expects(is_dense(), "tensor_view: reshape of a view that is not dense");
    expects(element_count(extents) == size(), "tensor_view: reshape of ", size(), " elements to ",
            element_count(extents));
    return {data_, extents};
  }

 private:
  T* data_ = nullptr;
  Extents<Rank> extents_{};
  Extents<Rank> strides_{};
};

static_assert(std::is_trivially_copyable_v<TensorView<float, 2>>);

}  // namespace ltxmem
