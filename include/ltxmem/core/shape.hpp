// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "ltxmem/config.hpp"
#include "ltxmem/core/error.hpp"

/// Extents, row-major strides and byte counts. All products are checked: a shape whose size does not fit 63 bits is a
/// ShapeError, never a small allocation.

namespace ltxmem {

template <std::size_t Rank>
using Extents = std::array<std::int64_t, Rank>;

/// Smallest multiple of unit that is at least value; both non-negative, unit positive.
LTXMEM_HOST_DEVICE constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

LTXMEM_HOST_DEVICE constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t unit) noexcept {
  return (value + unit - 1) / unit;
}

/// a * b for non-negative factors; ShapeError when negative or above 2^63 - 1.
inline std::int64_t checked_product(std::int64_t a, std::int64_t b) {
  expects(a >= 0 && b >= 0, "shape: negative extent in ", a, " x ", b);
  expects(b == 0 || a <= std::numeric_limits<std::int64_t>::max() / b, "shape: ", a, " x ", b, " overflows 63 bits");
  return a * b;
}

template <std::size_t Rank>
std::int64_t element_count(const Extents<Rank>& extents) {
  std::int64_t count = 1;
  for (const std::int64_t extent : extents) count = checked_product(count, extent);
  return count;
}

template <class T, std::size_t Rank>
std::size_t byte_count(const Extents<Rank>& extents) {
  return static_cast<std::size_t>(checked_product(element_count(extents), static_cast<std::int64_t>(sizeof(T))));
}

/// Strides, in elements, of a dense row-major tensor.
template <std::size_t Rank>
constexpr Extents<Rank> dense_strides(const Extents<Rank>& extents) noexcept {
  Extents<Rank> strides{};
  std::int64_t stride = 1;
  for (std::size_t axis = Rank; axis-- > 0;) {
    strides[axis] = stride;
    stride *= extents[axis];
  }
  return strides;
}

/// "3 x 4 x 5", for messages.
template <std::size_t Rank>
std::string extents_text(const Extents<Rank>& extents) {
  std::string text;
  for (const std::int64_t extent : extents) text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text;
}

/// Throws unless [begin, begin + count) lies in [0, extent): "weight matrix: rows 2 from 4 of 5". The end is never
/// computed, it may overflow.
inline void expects_range(std::string_view what, std::int64_t begin, std::int64_t count, std::int64_t extent) {
  expects(begin >= 0 && count >= 0 && begin <= extent - count, what, " ", count, " from ", begin, " of ", extent);
}

}  // namespace ltxmem
