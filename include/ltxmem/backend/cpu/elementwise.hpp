// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ltxmem/backend/cpu/avx512_bfloat16.hpp"
#include "ltxmem/backend/cpu/sse2_stream.hpp"
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

/// The one addend that changes no bit.
inline constexpr float no_addend = -0.0F;

template <class T>
void widen(const T* from, std::int64_t count, float* to) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (rounds_bfloat16) return widen_run(from, count, to);
  }
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

template <class T>
void narrow(const float* from, std::int64_t count, T* to) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (rounds_bfloat16) return round_run(from, count, to);
  }
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(from[i]);
}

/// to[i] = To(fn(float(from[i]), i)); to may be from. What goes past the caches, at most run_length elements, is seen
/// by other threads after stream_fence.
template <class From, class To, class Fn>
void transform_run(const From* from, std::int64_t count, To* to, const Fn& fn, bool past_caches = false) {
  if (past_caches && (!std::is_same_v<To, bfloat16> || !rounds_bfloat16 || elements_before_line(to) != 0)) {
    alignas(To) std::byte staged[static_cast<std::size_t>(run_length) * sizeof(To)];
    transform_run(from, count, reinterpret_cast<To*>(staged), fn);
    return stream_run(reinterpret_cast<const To*>(staged), count, to);
  }
  if constexpr (std::is_same_v<To, bfloat16>) {
    if (rounds_bfloat16) {
      const auto block = [&](std::int64_t begin, std::int64_t length) {
        float values[rounded_floats];
        if constexpr (std::is_same_v<From, bfloat16>) {
          widen_run(from + begin, length, values);  // by widen, which asks for every block, a tenth slower
        } else {
          for (std::int64_t i = 0; i < length; ++i) values[i] = static_cast<float>(from[begin + i]);
        }
        for (std::int64_t i = 0; i < length; ++i) values[i] = fn(values[i], begin + i);
        round_run(values, length, to + begin, past_caches);
      };
      std::int64_t i = 0;
      for (; i + rounded_floats <= count; i += rounded_floats) block(i, rounded_floats);
      if (i < count) block(i, count - i);
      return;
    }
  }
  LTXMEM_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(fn(static_cast<float>(from[i]), i));
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

// Flattened: everything that fn calls, down to its loops over elements, is compiled for the target of the function.

template <class Fn>
[[gnu::target("avx2"), gnu::flatten]] void with_avx2(const Fn& fn) {
  fn();
}

#if LTXMEM_WITHOUT_CONTRACTION
template <class Fn>
[[gnu::target(LTXMEM_BFLOAT16_TARGET ",prefer-vector-width=512"), gnu::optimize("fp-contract=off"), gnu::flatten]] void
with_avx512(const Fn& fn) {
  fn();
}
#endif

}  // namespace detail

/// Calls fn, compiled for wider vectors than the program's where the processor has them. Without fused multiply-adds,
/// so that bits are those of any other processor: AVX2 does not have them, with AVX-512 the compiler is told.
template <class Fn>
void with_wide_vectors(const Fn& fn) {
#if LTXMEM_WITHOUT_CONTRACTION
  if (rounds_bfloat16) return detail::with_avx512(fn);
#endif
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
    const auto fold = [&]<std::int64_t width>() {  // of a width known to the compiler, in registers
      for (std::int64_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    };
    fold.template operator()<8>();
    fold.template operator()<4>();
    fold.template operator()<2>();
    fold.template operator()<1>();
    total += sums[0];
  }
  return total;
}

}  // namespace ltxmem::cpu
