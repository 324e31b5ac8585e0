// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ltxmem/backend/cpu/gemm.hpp"
#include "ltxmem/config.hpp"
#include "ltxmem/core/resource.hpp"

namespace ltxmem {

/// Matrix product in plain C++: blocked loops over packed panels around a small register tile.
///
/// Computes  product = x w^T for float, bfloat16 and half; the inputs are widened to float while they are packed
/// Memory    scratch: row_quantum rows of one depth block and one strip of w, in float
/// Numerics  each element sums its products in order within blocks of 256 inputs, then the blocks in order; padding
///           runs through the same code, so position and neighbours do not matter
/// Source    Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008
class PortableGemm {
 public:
  static constexpr bool dense_operands = false;

  template <Element T>
  static constexpr std::size_t scratch_bytes() {
    return aligned_bytes(static_cast<std::size_t>(round_up(row_quantum, tile_rows) * depth) * sizeof(float)) +
           aligned_bytes(static_cast<std::size_t>(tile_columns * depth) * sizeof(float));
  }

  template <Element T>
  void multiply(TensorView<const T, 2> x, TensorView<const T, 2> w, TensorView<float, 2> product,
                std::byte* scratch) const {
    const std::int64_t rows = x.extent(0);
    const std::int64_t columns = w.extent(0);
    const std::int64_t inner = x.extent(1);
    if (rows == 0 || columns == 0) return;
    if (inner == 0) std::fill_n(product.data(), product.size(), 0.0F);
    float* packed_x = reinterpret_cast<float*>(scratch);
    float* packed_w = packed_x + round_up(row_quantum, tile_rows) * depth;
    for (std::int64_t begin = 0; begin < inner; begin += depth) {
      const std::int64_t count = std::min(depth, inner - begin);
      for (std::int64_t row = 0; row < rows; row += tile_rows) {
        pack<tile_rows>(x.rows(row, std::min(tile_rows, rows - row)).columns(begin, count), packed_x + row * count);
      }
      for (std::int64_t column = 0; column < columns; column += tile_columns) {
        const std::int64_t width = std::min(tile_columns, columns - column);
        pack<tile_columns>(w.rows(column, width).columns(begin, count), packed_w);
        for (std::int64_t row = 0; row < rows; row += tile_rows) {
          Tile tile;
          multiply_tile(packed_x + row * count, packed_w, count, tile);
          add_tile(tile, begin == 0, product.rows(row, std::min(tile_rows, rows - row)).columns(column, width));
        }
      }
    }
  }

 private:
  static constexpr std::int64_t lanes = LTXMEM_VECTOR_BYTES / 4;
  using Vector __attribute__((vector_size(LTXMEM_VECTOR_BYTES))) = float;

  static constexpr std::int64_t depth = 256;
  static constexpr std::int64_t tile_rows = 6;  // with two vectors of columns: 12 sums, which fit 16 registers
  static constexpr std::int64_t tile_columns = 2 * lanes;

  /// Sums of a register tile. nvcc forgets that arrays of its own of such a type are arrays of vectors.
  struct Tile {
    Vector sums[tile_rows][2];
  };

  /// Up to Width rows of a matrix as [column][Width], missing rows as zeros.
  template <std::int64_t Width, class T>
  static void pack(TensorView<const T, 2> from, float* to) {
    const std::int64_t count = from.extent(1);
    if (from.extent(0) < Width) std::fill_n(to, Width * count, 0.0F);
    for (std::int64_t row = 0; row < from.extent(0); ++row) {
      const T* source = from.data() + row * from.stride(0);
      for (std::int64_t k = 0; k < count; ++k) to[k * Width + row] = static_cast<float>(source[k]);
    }
  }

  static void multiply_tile(const float* x, const float* w, std::int64_t count, Tile& tile) {
    Tile sum = {};
    for (std::int64_t k = 0; k < count; ++k, x += tile_rows, w += tile_columns) {
      Vector left;
      Vector right;
      std::memcpy(&left, w, sizeof left);
      std::memcpy(&right, w + lanes, sizeof right);
      for (std::int64_t row = 0; row < tile_rows; ++row) {
        sum.sums[row][0] += x[row] * left;
        sum.sums[row][1] += x[row] * right;
      }
    }
    std::memcpy(&tile, &sum, sizeof sum);
  }

  static void add_tile(const Tile& tile, bool first, TensorView<float, 2> to) {
    float values[tile_rows][tile_columns];
    std::memcpy(values, &tile, sizeof values);
    for (std::int64_t row = 0; row < to.extent(0); ++row) {
      float* target = to.data() + row * to.stride(0);
      for (std::int64_t column = 0; column < to.extent(1); ++column) {
        target[column] = first ? values[row][column] : target[column] + values[row][column];
      }
    }
  }
};

static_assert(CpuGemm<PortableGemm, float> && CpuGemm<PortableGemm, bfloat16> && CpuGemm<PortableGemm, half>);

}  // namespace ltxmem
