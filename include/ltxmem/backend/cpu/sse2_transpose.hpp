// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ltxmem/config.hpp"

#if LTXMEM_X86_TARGETS
#include <emmintrin.h>
#endif

/// Transposition of small matrices, with instructions that every x86-64 processor has; element by element on others.

namespace ltxmem::cpu {

namespace detail {

#if LTXMEM_X86_TARGETS

/// Rows of a square that fill a register each.
template <class T>
inline constexpr std::int64_t square = 16 / sizeof(T);

/// Columns of a square [square, square] of 2 or 4 bytes an element as rows.
template <class T>
void transpose_square(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride) {
  constexpr std::size_t n = square<T>;
  __m128i rows[n];
  for (std::size_t i = 0; i < n; ++i) {
    rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + static_cast<std::int64_t>(i) * from_stride));
  }
  // Each step interleaves row i with row i + n / 2; after log2(n) of them, columns have become rows.
  for (std::size_t step = 1; step < n; step *= 2) {
    __m128i next[n];
    for (std::size_t i = 0; i < n / 2; ++i) {
      if constexpr (sizeof(T) == 2) {
        next[2 * i] = _mm_unpacklo_epi16(rows[i], rows[i + n / 2]);
        next[2 * i + 1] = _mm_unpackhi_epi16(rows[i], rows[i + n / 2]);
      } else {
        next[2 * i] = _mm_unpacklo_epi32(rows[i], rows[i + n / 2]);
        next[2 * i + 1] = _mm_unpackhi_epi32(rows[i], rows[i + n / 2]);
      }
    }
    std::copy_n(next, n, rows);
  }
  for (std::size_t i = 0; i < n; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + static_cast<std::int64_t>(i) * to_stride), rows[i]);
  }
}

#else

template <class T>
inline constexpr std::int64_t square = 1;

template <class T>
void transpose_square(const T* from, std::int64_t, T* to, std::int64_t) {
  *to = *from;
}

#endif

}  // namespace detail

/// to [columns, rows] = from [rows, columns] transposed, both dense; they may not overlap.
template <class T>
void transpose(const T* from, std::int64_t rows, std::int64_t columns, T* to) {
  constexpr std::int64_t n = detail::square<T>;
  constexpr std::int64_t few = 256;  // rows that stay in the first cache while their columns are written one by one
  const std::int64_t whole = columns < n ? 0 : rows / n * n;
  for (std::int64_t begin = 0; begin < whole; begin += few) {
    for (std::int64_t column = 0; column < columns; column += n) {
      const std::int64_t at = std::min(column, columns - n);  // the last square may overlap the one before
      for (std::int64_t row = begin; row < std::min(whole, begin + few); row += n) {
        detail::transpose_square(from + row * columns + at, columns, to + at * rows + row, rows);
      }
    }
  }
  for (std::int64_t row = whole; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) to[column * rows + row] = from[row * columns + column];
  }
}

}  // namespace ltxmem::cpu
