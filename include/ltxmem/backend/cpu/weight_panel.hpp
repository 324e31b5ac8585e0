// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/weight_view.hpp"

/// Weights that a gemm cannot read where they lie are copied, some rows at a time, into a panel of its element type.

namespace ltxmem::cpu::detail {

/// Whether the weight is of another type than T, or at an address that no T may have.
template <Element T>
bool needs_conversion(const WeightMatrix& weight) {
  return weight.dtype != dtype_of<T> || reinterpret_cast<std::uintptr_t>(weight.data) % alignof(T) != 0;
}

/// The same, or with gaps that the gemm refuses.
template <class Gemm, Element T>
bool needs_panel(const WeightMatrix& weight) {
  return needs_conversion<T>(weight) || (Gemm::dense_operands && weight.row_stride != weight.columns);
}

/// Rows [begin, begin + count) of a weight as dense T.
template <Element T>
void expand_panel(const WeightMatrix& weight, std::int64_t begin, std::int64_t count, T* to) {
  with_floating_type(weight.dtype, [&]<class W>(const W*) {
    const std::byte* row = weight.row_slice(begin, count).data;
    for (std::int64_t n = 0; n < count; ++n, to += weight.columns) {
      if constexpr (std::is_same_v<W, T>) {
        std::memcpy(to, row, static_cast<std::size_t>(weight.columns) * sizeof(T));
      } else if constexpr (std::is_same_v<W, float8_e4m3>) {
        static constexpr auto values = [] {
          std::array<T, 256> table{};
          for (std::size_t code = 0; code < 256; ++code) {
            table[code] = T(ltxmem::detail::float8_e4m3_value(static_cast<std::uint8_t>(code)));
          }
          return table;
        }();
        for (std::int64_t k = 0; k < weight.columns; ++k) to[k] = values[std::to_integer<std::size_t>(row[k])];
      } else {
        for (std::int64_t k = 0; k < weight.columns; ++k) {
          W value;
          std::memcpy(&value, row + static_cast<std::size_t>(k) * sizeof(W), sizeof(W));  // may be misaligned
          to[k] = static_cast<T>(static_cast<float>(value));
        }
      }
      row += static_cast<std::size_t>(weight.row_stride) * sizeof(W);
    }
  });
}

}  // namespace ltxmem::cpu::detail
