// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ltxmem/config.hpp"

/// Running maximum and sum of one softmax row, in base 2: the formulas that every executor shares.
///
/// A state is (m, s): the largest logit seen and s = sum 2^(logit - m). (-infinity, 0) has seen nothing and is the
/// identity. The accumulator of values follows s: whatever scales s scales it too. Logits are finite or -infinity
/// (hidden). A difference of two -infinities would be NaN: softmax_base is the one place that prevents it, and
/// exponents are taken against it everywhere.
///
/// Source  Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, section 3

namespace ltxmem {

inline constexpr float log2_e = 1.44269504088896340736F;
inline constexpr float ln_2 = 0.69314718055994530942F;

/// Constants of exp2_nonpositive, for kernels that evaluate it on vectors.
inline constexpr float exp2_shift = 12582912.0F;
inline constexpr float exp2_floor = -127.0F;
inline constexpr float exp2_coefficients[6] = {1.54531634e-4F, 1.33908633e-3F, 9.61808302e-3F,
                                               5.55035695e-2F, 2.40226507e-1F, 6.93147182e-1F};

/// 2^x for x <= 0, to about 1 ulp; exactly 1 for 0 and exactly 0 below -126.5, -infinity included.
///
/// x splits into a whole number and f in [-1/2, 1/2]. Adding 1.5 * 2^23 rounds to whole numbers and leaves that number
/// in the low bits, where it becomes the exponent: no call and no branch, so loops over it vectorise. The polynomial
/// interpolates (2^f - 1) / f at the six Chebyshev nodes of the interval; its own error is below 2^-26.
LTXMEM_HOST_DEVICE inline float exp2_nonpositive(float x) noexcept {
  const float clamped = x > exp2_floor ? x : exp2_floor;
  const float shifted = clamped + exp2_shift;
  const float f = clamped - (shifted - exp2_shift);
  // A kernel may use the value of a constant, not an array that lies in the host's memory.
  constexpr float c0 = exp2_coefficients[0], c1 = exp2_coefficients[1], c2 = exp2_coefficients[2];
  constexpr float c3 = exp2_coefficients[3], c4 = exp2_coefficients[4], c5 = exp2_coefficients[5];
  float value = ((((c0 * f + c1) * f + c2) * f + c3) * f + c4) * f + c5;
  value = value * f + 1.0F;
  return value * std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 127U) << 23);
}

/// What exponents are taken against: the maximum, or 0 where nothing was seen and every logit is -infinity.
LTXMEM_HOST_DEVICE inline float softmax_base(float maximum) noexcept {
  return maximum == -std::numeric_limits<float>::infinity() ? 0.0F : maximum;
}

struct SoftmaxState {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0.0F;
};

/// Factor of an old sum and accumulator once the maximum has risen to `maximum`.
LTXMEM_HOST_DEVICE inline float softmax_rescale(float old_maximum, float maximum) noexcept {
  return exp2_nonpositive(old_maximum - softmax_base(maximum));
}

/// State after also seeing logits whose maximum is `logit_maximum` and whose sum of 2^(logit - softmax_base(m)), m the
/// larger of both maxima, is `logit_sum`. The accumulator is multiplied by softmax_rescale(before, after).
LTXMEM_HOST_DEVICE inline SoftmaxState softmax_append(SoftmaxState state, float logit_maximum,
                                                      float logit_sum) noexcept {
  const float maximum = state.maximum < logit_maximum ? logit_maximum : state.maximum;
  return {maximum, state.sum * softmax_rescale(state.maximum, maximum) + logit_sum};
}

/// State of the union of two disjoint key sets, and the factors of their accumulators.
struct SoftmaxMerge {
  SoftmaxState state;
  float factor_a = 0.0F;
  float factor_b = 0.0F;
};
LTXMEM_HOST_DEVICE inline SoftmaxMerge softmax_merge(SoftmaxState a, SoftmaxState b) noexcept {
  const float maximum = a.maximum < b.maximum ? b.maximum : a.maximum;
  const float factor_a = softmax_rescale(a.maximum, maximum);
  const float factor_b = softmax_rescale(b.maximum, maximum);
  return {{maximum, a.sum * factor_a + b.sum * factor_b}, factor_a, factor_b};
}

/// 1 / sum, or 0 for a row that has seen nothing: its output is zero.
LTXMEM_HOST_DEVICE inline float softmax_inverse_sum(float sum) noexcept {
  return sum > 0.0F ? 1.0F / sum : 0.0F;
}

/// ln(sum over keys of e^logit); -infinity for a row that has seen nothing.
LTXMEM_HOST_DEVICE inline float softmax_natural_lse(SoftmaxState state) noexcept {
  if (!(state.sum > 0.0F)) return -std::numeric_limits<float>::infinity();
  return (state.maximum + std::log2(state.sum)) * ln_2;
}

}  // namespace ltxmem
