// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "ltxmem/config.hpp"
#include "ltxmem/core/dtype.hpp"

#if LTXMEM_X86_TARGETS
#include <immintrin.h>
#endif

/// Runs of bfloat16 widened and rounded by AVX-512 and its instruction for that, to the bits of dtype.hpp.
///
/// Nothing here computes: see with_wide_vectors for arithmetic.

namespace ltxmem::cpu {

/// Floats that a loop hands to round_run at once: as many as two registers hold where the loop can be compiled for
/// AVX-512 as well, elsewhere enough to pay for the call.
inline constexpr std::int64_t rounded_floats = LTXMEM_WITHOUT_CONTRACTION ? 32 : 512;

#if LTXMEM_X86_TARGETS

#define LTXMEM_BFLOAT16_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"

/// Whether widen_run and round_run may be called. A test turns it off to compare with other processors.
inline bool rounds_bfloat16 = __builtin_cpu_supports("avx512bf16") != 0;

/// to[i] = float(from[i]): the upper half of a word.
[[gnu::target(LTXMEM_BFLOAT16_TARGET)]] inline void widen_run(const bfloat16* from, std::int64_t count, float* to) {
  alignas(64) static constexpr std::uint16_t places[] = {0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
                                                         0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15};
  constexpr __mmask32 upper = 0xaaaaaaaaU;
  const __m512i low = _mm512_load_si512(places);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  std::int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i bits = _mm512_loadu_si512(from + i);
    _mm512_storeu_ps(to + i, _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(upper, low, bits)));
    _mm512_storeu_ps(to + i + 16, _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(upper, high, bits)));
  }
  for (; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

namespace detail {

[[gnu::target(LTXMEM_BFLOAT16_TARGET)]] inline __m512i rounded(__m512 low, __m512 high) {
  // The instruction takes subnormal numbers for zeros.
  constexpr int subnormal = 0x20;
  const int wrong = _mm512_fpclass_ps_mask(low, subnormal) | _mm512_fpclass_ps_mask(high, subnormal);
  if (wrong == 0) [[likely]]
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
  alignas(64) float values[32];
  alignas(64) std::uint16_t bits[32];
  _mm512_store_ps(values, low);
  _mm512_store_ps(values + 16, high);
  for (int i = 0; i < 32; ++i) bits[i] = ltxmem::detail::bfloat16_bits(values[i]);
  return _mm512_load_si512(bits);
}

}  // namespace detail

/// to[i] = bfloat16(from[i]), past the caches where asked for: `to` then begins a line of them.
[[gnu::target(LTXMEM_BFLOAT16_TARGET)]] inline void round_run(const float* from, std::int64_t count, bfloat16* to,
                                                              bool past_caches = false) {
  std::int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i bits = detail::rounded(_mm512_loadu_ps(from + i), _mm512_loadu_ps(from + i + 16));
    if (past_caches) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), bits);
    } else {
      _mm512_storeu_si512(to + i, bits);
    }
  }
  if (i == count) return;
  const std::uint32_t mask = (std::uint32_t{1} << (count - i)) - 1;
  const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from + i);
  const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), from + i + 16);
  _mm512_mask_storeu_epi16(to + i, mask, detail::rounded(low, high));
}

#else

inline bool rounds_bfloat16 = false;

inline void widen_run(const bfloat16* from, std::int64_t count, float* to) {
  std::transform(from, from + count, to, [](bfloat16 value) { return static_cast<float>(value); });
}
inline void round_run(const float* from, std::int64_t count, bfloat16* to, bool = false) {
  std::transform(from, from + count, to, [](float value) { return bfloat16(value); });
}

#endif

}  // namespace ltxmem::cpu
