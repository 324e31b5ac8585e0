// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/cpu/amx_tiles.hpp"
#include "ltxmem/backend/cpu/gemm.hpp"

#if LTXMEM_X86_TARGETS
#include <immintrin.h>
#endif

namespace ltxmem {

#if LTXMEM_X86_TARGETS

/// Matrix product of bfloat16 on matrix tiles (AMX), in an order of summation that no shape changes.
///
/// Computes  product = x w^T; shapes and promises are those of CpuGemm, for processors where available() holds
/// Memory    scratch: row_quantum rows of x and 32 rows of w, a block of 512 inputs of each
/// Numerics  an element takes up 32 inputs at a time: the instruction sums their even and their odd ones, and adds
///           both. Missing rows, columns and inputs are zeros that run through the same code. Subnormal numbers are
///           zero
/// Source    TDPBF16PS in Intel's Software Developer's Manual, volume 2
class AmxGemm {
 public:
  static bool available() { return cpu::has_matrix_tiles(); }

  static constexpr std::size_t scratch_bytes() { return x_bytes + w_bytes; }

  [[gnu::target("avx512bw,amx-tile,amx-bf16")]] static void multiply(TensorView<const bfloat16, 2> x,
                                                                     TensorView<const bfloat16, 2> w,
                                                                     TensorView<float, 2> product, std::byte* scratch) {
    if (x.extent(1) == 0) std::fill_n(product.data(), product.size(), 0.0F);
    auto* packed_x = reinterpret_cast<__m512i*>(scratch);
    auto* packed_w = reinterpret_cast<__m512i*>(scratch + x_bytes);
    alignas(64) float edge[block * block] = {};
    _tile_loadconfig(&cpu::whole_tiles);
    for (std::int64_t begin = 0; begin < x.extent(1); begin += depth) {
      const std::int64_t inputs = std::min(depth, x.extent(1) - begin);
      const std::int64_t steps = ceil_div(inputs, tile_inputs);
      const bool first = begin == 0;
      pack_x(x.columns(begin, inputs), packed_x);
      for (std::int64_t column = 0; column < w.extent(0); column += block) {
        const std::int64_t width = std::min(block, w.extent(0) - column);
        pack_w(w.rows(column, width).columns(begin, inputs), packed_w);
        for (std::int64_t row = 0; row < x.extent(0); row += block) {
          const std::int64_t height = std::min(block, x.extent(0) - row);
          const std::int64_t stride = product.stride(0);
          float* sums = product.data() + row * stride + column;
          if (width == block && height == block) {
            multiply_block(packed_x + row * steps, packed_w, steps, first, sums, stride);
            continue;
          }
          for (std::int64_t r = 0; r < height && !first; ++r) std::copy_n(sums + r * stride, width, edge + r * block);
          multiply_block(packed_x + row * steps, packed_w, steps, first, edge, block);
          for (std::int64_t r = 0; r < height; ++r) std::copy_n(edge + r * block, width, sums + r * stride);
        }
      }
    }
    _tile_release();
  }

 private:
  static constexpr std::int64_t depth = 512;
  static constexpr std::int64_t tile = 16;         // rows of a register, pairs of inputs in a row
  static constexpr std::int64_t tile_inputs = 32;  // in a row
  static constexpr std::int64_t block = 32;        // rows and columns of the sums in four registers
  static constexpr std::size_t x_bytes = static_cast<std::size_t>(row_quantum * depth) * sizeof(bfloat16);
  static constexpr std::size_t w_bytes = static_cast<std::size_t>(block * depth) * sizeof(bfloat16);
  static_assert(row_quantum % block == 0 && depth % tile_inputs == 0, "amx gemm: blocks are whole registers");

  /// The next 32 inputs of a row, of which `inputs` are there.
  [[gnu::target("avx512bw")]] static __m512i load_inputs(const bfloat16* row, std::int64_t inputs) {
    const auto mask = inputs >= tile_inputs ? ~__mmask32{0} : static_cast<__mmask32>((1U << inputs) - 1U);
    return _mm512_maskz_loadu_epi16(mask, row);
  }

  /// Tiles of 16 rows by 32 inputs; those of the same rows follow one another.
  [[gnu::target("avx512bw")]] static void pack_x(TensorView<const bfloat16, 2> x, __m512i* to) {
    const std::int64_t inputs = x.extent(1);
    for (std::int64_t row = 0; row < round_up(x.extent(0), block); ++row) {
      __m512i* packed = to + row / tile * ceil_div(inputs, tile_inputs) * tile + row % tile;
      const bfloat16* values = x.data() + row * x.stride(0);
      for (std::int64_t k = 0; k < inputs; k += tile_inputs, packed += tile) {
        *packed = row < x.extent(0) ? load_inputs(values + k, inputs - k) : _mm512_setzero_si512();
      }
    }
  }

  /// Tiles of 16 pairs of inputs by 16 rows; those of the same rows follow one another.
  [[gnu::target("avx512bw")]] static void pack_w(TensorView<const bfloat16, 2> w, __m512i* to) {
    const std::int64_t inputs = w.extent(1);
    for (std::int64_t row = 0; row < block; row += tile) {
      for (std::int64_t k = 0; k < inputs; k += tile_inputs, to += tile) {
        __m512i rows[tile];
#pragma GCC unroll 16
        for (std::int64_t r = 0; r < tile; ++r) {
          const bfloat16* values = w.data() + (row + r) * w.stride(0) + k;
          rows[r] = row + r < w.extent(0) ? load_inputs(values, inputs - k) : _mm512_setzero_si512();
        }
        transpose(rows, to);
      }
    }
  }

  /// Of 16 rows of 16 pairs: within quarters of 4 x 4 pairs first, then the quarters.
  [[gnu::target("avx512bw")]] static void transpose(const __m512i (&rows)[tile], __m512i* to) {
    // With masks of everything: GCC 12 warns of the undefined operands of the functions without.
    constexpr __mmask16 all = 0xFFFF;
    __m512i quarters[tile];
#pragma GCC unroll 4
    for (int r = 0; r < tile; r += 4) {
      const __m512i low01 = _mm512_maskz_unpacklo_epi32(all, rows[r], rows[r + 1]);
      const __m512i high01 = _mm512_maskz_unpackhi_epi32(all, rows[r], rows[r + 1]);
      const __m512i low23 = _mm512_maskz_unpacklo_epi32(all, rows[r + 2], rows[r + 3]);
      const __m512i high23 = _mm512_maskz_unpackhi_epi32(all, rows[r + 2], rows[r + 3]);
      quarters[r] = _mm512_maskz_unpacklo_epi64(0xFF, low01, low23);
      quarters[r + 1] = _mm512_maskz_unpackhi_epi64(0xFF, low01, low23);
      quarters[r + 2] = _mm512_maskz_unpacklo_epi64(0xFF, high01, high23);
      quarters[r + 3] = _mm512_maskz_unpackhi_epi64(0xFF, high01, high23);
    }
    // Quarter q of quarters[r + c] has column 4 q + c of rows r to r + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const __m512i even_upper = _mm512_maskz_shuffle_i32x4(all, quarters[c], quarters[c + 4], 0x88);
      const __m512i odd_upper = _mm512_maskz_shuffle_i32x4(all, quarters[c], quarters[c + 4], 0xDD);
      const __m512i even_lower = _mm512_maskz_shuffle_i32x4(all, quarters[c + 8], quarters[c + 12], 0x88);
      const __m512i odd_lower = _mm512_maskz_shuffle_i32x4(all, quarters[c + 8], quarters[c + 12], 0xDD);
      to[c] = _mm512_maskz_shuffle_i32x4(all, even_upper, even_lower, 0x88);
      to[c + 4] = _mm512_maskz_shuffle_i32x4(all, odd_upper, odd_lower, 0x88);
      to[c + 8] = _mm512_maskz_shuffle_i32x4(all, even_upper, even_lower, 0xDD);
      to[c + 12] = _mm512_maskz_shuffle_i32x4(all, odd_upper, odd_lower, 0xDD);
    }
  }

  /// sums [block][block] = (first ? 0 : sums) + x w^T. GCC's instructions know nothing of the memory that they use:
  /// hence the fences, which cost no instruction.
  [[gnu::target("amx-tile,amx-bf16")]] static void multiply_block(const __m512i* x, const __m512i* w,
                                                                  std::int64_t steps, bool first, float* sums,
                                                                  std::int64_t stride) {
    const std::int64_t row_bytes = stride * 4;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      _tile_loadd(0, sums, row_bytes);
      _tile_loadd(1, sums + tile, row_bytes);
      _tile_loadd(2, sums + tile * stride, row_bytes);
      _tile_loadd(3, sums + tile * stride + tile, row_bytes);
    }
    for (std::int64_t step = 0; step < steps; ++step, x += tile, w += tile) {
      _tile_loadd(4, x, 64);
      _tile_loadd(6, w, 64);
      _tile_loadd(7, w + steps * tile, 64);
      _tile_loadd(5, x + steps * tile, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, row_bytes);
    _tile_stored(1, sums + tile, row_bytes);
    _tile_stored(2, sums + tile * stride, row_bytes);
    _tile_stored(3, sums + tile * stride + tile, row_bytes);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
};

#else

/// Other processors have no matrix tiles.
class AmxGemm {
 public:
  static bool available() { return false; }
  static constexpr std::size_t scratch_bytes() { return 0; }
  static void multiply(TensorView<const bfloat16, 2>, TensorView<const bfloat16, 2>, TensorView<float, 2>, std::byte*) {
  }
};

#endif

}  // namespace ltxmem
