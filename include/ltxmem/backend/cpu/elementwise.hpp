// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/config.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/math/activation.hpp"

/// Loops over short runs of elements that the CPU operations share.
///
/// Operations work on runs of at most run_length floats in a buffer on the stack: widen, compute, narrow. The buffer
/// overlaps nothing, so the compiler vectorises the arithmetic even where an operation runs in place.

namespace ltxmem::cpu {

inline constexpr std::int64_t run_length = 512;

template <class T>
void widen(const T* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

template <class T>
void narrow(const float* from, std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
}

// Two neighbouring bfloat16 in one word are two floats after a shift and a mask, where vectors of neighbours take five
// instructions. Loops over bfloat16 take pairs therefore, and floats that accompany a run have its even places before
// its odd ones.

/// Whether a run of so many T is taken in pairs.
template <class T>
constexpr bool in_pairs(std::int64_t count) {
  return std::is_same_v<T, bfloat16> && std::endian::native == std::endian::little && count % 2 == 0;
}

struct FloatPair {
  float even;
  float odd;
};

inline FloatPair widen_pair(const bfloat16* from) {
  std::uint32_t word = 0;
  std::memcpy(&word, from, sizeof word);
  return {std::bit_cast<float>(word << 16), std::bit_cast<float>(word & 0xffff0000U)};
}

inline void narrow_pair(float even, float odd, bfloat16* to) {
  const std::uint32_t word = std::uint32_t{bfloat16(even).bits} | std::uint32_t{bfloat16(odd).bits} << 16;
  std::memcpy(static_cast<void*>(to), &word, sizeof word);
}

inline void narrow_pair(float even, float odd, float* to) {
  to[0] = even;
  to[1] = odd;
}

/// Brings floats that accompany a run of T into its order.
template <class T>
void order(const float* from, std::int64_t count, float* to) {
  const bool pairs = in_pairs<T>(count);
  const std::int64_t half = count / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    to[pairs ? i : 2 * i] = from[2 * i];
    to[pairs ? half + i : 2 * i + 1] = from[2 * i + 1];
  }
  if (count % 2 != 0) to[count - 1] = from[count - 1];
}

/// to[i] = fn(from[i], place of what accompanies i), rounded to Out; to may be from.
template <class T, class Out, class Fn>
void transform_run(const T* from, std::int64_t count, Out* to, const Fn& fn) {
  if constexpr (in_pairs<T>(0)) {
    if (in_pairs<T>(count)) {
      const std::int64_t half = count / 2;
      LTXMEM_INDEPENDENT_ITERATIONS
      for (std::int64_t i = 0; i < half; ++i) {
        const auto [even, odd] = widen_pair(from + 2 * i);
        narrow_pair(fn(even, i), fn(odd, half + i), to + 2 * i);
      }
      return;
    }
  }
  LTXMEM_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<Out>(fn(static_cast<float>(from[i]), i));
}

/// Elements [begin, begin + count) of a weight vector.
inline void widen(const WeightVector& vector, std::int64_t begin, std::int64_t count, float* to) {
  with_floating_type(vector.dtype,
                     [&](auto* type) { widen(reinterpret_cast<decltype(type)>(vector.data) + begin, count, to); });
}

/// Throws ShapeError unless every token asks for a row that is there.
inline void check_row_numbers(const char* operation, const char* what, const TokenRows& rows) {
  for (std::int64_t n = 0; n < rows.index.extent(0); ++n) {
    expects(rows.index(n) >= 0 && rows.index(n) < rows.rows.extent(0), operation, ": token ", n, " asks for row ",
            rows.index(n), " of a ", what, " with ", rows.rows.extent(0));
  }
}

#if LTXMEM_X86_TARGETS

namespace detail {

/// Flattened: everything that fn calls, down to its loops over elements, is compiled for this function's target.
template <class Fn>
[[gnu::target("avx2"), gnu::flatten]] void with_avx2(const Fn& fn) {
  fn();
}

}  // namespace detail

/// Calls fn, compiled for wider vectors than the program's where the processor has them. Without fused multiply-adds:
/// bits are those of any other processor.
template <class Fn>
void with_wide_vectors(const Fn& fn) {
  static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  if (avx2) return detail::with_avx2(fn);
  fn();
}

#else

template <class Fn>
void with_wide_vectors(const Fn& fn) {
  fn();
}

#endif

inline void activate(Activation activation, float* values, std::int64_t count) {
  switch (activation) {
    case Activation::none: return;
    case Activation::gelu_tanh: std::transform(values, values + count, values, gelu_tanh); return;
    case Activation::silu: std::transform(values, values + count, values, silu); return;
    case Activation::twice_sigmoid: std::transform(values, values + count, values, twice_sigmoid); return;
  }
}

/// Sum of term(float(element)) over a row, in an order that depends on the row's length alone.
///
/// Numerics  16 running sums, folded in pairs every 4096 elements: no addend passes through more than
///           256 + 4 + count / 4096 additions
template <class T, class Term>
float row_sum(const T* row, std::int64_t count, Term term) {
  constexpr std::int64_t lanes = 16;
  constexpr std::int64_t block = 4096;
  float total = 0.0F;
  for (std::int64_t begin = 0; begin < count; begin += block) {
    const std::int64_t end = std::min(count, begin + block);
    float sums[lanes] = {};
    std::int64_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) sums[lane] += term(static_cast<float>(row[i + lane]));
    }
    for (std::int64_t lane = 0; i < end; ++lane, ++i) sums[lane] += term(static_cast<float>(row[i]));
    for (std::int64_t width = lanes / 2; width > 0; width /= 2) {
      for (std::int64_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    }
    total += sums[0];
  }
  return total;
}

}  // namespace ltxmem::cpu
