// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

#include "ltxmem/config.hpp"

/// Activation functions of one value, in float, for the host and for kernels.
///
/// They are built on an exponential without branches or library calls, so that loops over them vectorise.

namespace ltxmem {

namespace detail {

/// e^x, relative error below 2e-7; x is first limited to [-87, 87], NaN stays NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 is split in two, so that the reduction is exact to float precision, and
/// e^r is its Taylor polynomial of degree 7, whose remainder there is below 6e-9. The limit and the NaN are handled on
/// the bits because compilers vectorise a choice between integers, but not one between floats that may be NaN.
LTXMEM_HOST_DEVICE inline float exponential(float x) {
  constexpr float log2_e = 1.44269504F;
  constexpr float ln_2_high = 0.693359375F;
  constexpr float ln_2_low = -2.12194440e-4F;
  constexpr float to_integer = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  constexpr std::int32_t limit = std::bit_cast<std::int32_t>(87.0F);
  constexpr std::int32_t infinity = 0x7f800000;
  const std::int32_t bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t magnitude = bits & 0x7fffffff;
  const std::int32_t limited = magnitude < limit ? magnitude : limit;
  const std::int32_t nan = magnitude > infinity ? -1 : 0;
  x = std::bit_cast<float>(limited | (bits ^ magnitude));
  const float shifted = x * log2_e + to_integer;
  const float n = shifted - to_integer;
  const float r = (x - n * ln_2_high) - n * ln_2_low;
  float p = 1.0F / 5040.0F;
  p = p * r + 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  // 2^n: the exponent field is n + 127; the bits of to_integer above the low ones fall off at the top of the shift.
  const std::uint32_t power = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23;
  return p * std::bit_cast<float>(power | static_cast<std::uint32_t>(nan));
}

}  // namespace detail

/// 0.5 z (1 + tanh(u)) with u = sqrt(2/pi) (z + 0.044715 z^3), as z / (1 + e^-2u).
/// Source    Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2
LTXMEM_HOST_DEVICE inline float gelu_tanh(float z) {
  constexpr float sqrt_2_over_pi = 0.7978845608028654F;
  return z / (1.0F + detail::exponential(-2.0F * sqrt_2_over_pi * (z + 0.044715F * z * z * z)));
}

/// z / (1 + e^-z).
LTXMEM_HOST_DEVICE inline float silu(float z) {
  return z / (1.0F + detail::exponential(-z));
}

/// 2 / (1 + e^-z): a gate that is 1 at 0.
LTXMEM_HOST_DEVICE inline float twice_sigmoid(float z) {
  return 2.0F / (1.0F + detail::exponential(-z));
}

enum class Activation : std::uint8_t {
  none,
  gelu_tanh,      ///< 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))
  silu,           ///< z / (1 + e^-z)
  twice_sigmoid,  ///< 2 / (1 + e^-z)
};

/// One value; whoever has a whole row chooses once for all of it.
LTXMEM_HOST_DEVICE inline float activate(Activation activation, float z) {
  switch (activation) {
    case Activation::none: break;
    case Activation::gelu_tanh: return gelu_tanh(z);
    case Activation::silu: return silu(z);
    case Activation::twice_sigmoid: return twice_sigmoid(z);
  }
  return z;
}

}  // namespace ltxmem
