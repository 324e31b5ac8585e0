// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "ltxmem/config.hpp"

/// Activation functions of one value, in float, for the host and for kernels.

namespace ltxmem {

/// 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))).
/// Source    Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2
LTXMEM_HOST_DEVICE inline float gelu_tanh(float z) {
  constexpr float sqrt_2_over_pi = 0.7978845608028654F;
  return 0.5F * z * (1.0F + std::tanh(sqrt_2_over_pi * (z + 0.044715F * z * z * z)));
}

/// z / (1 + e^-z).
LTXMEM_HOST_DEVICE inline float silu(float z) {
  return z / (1.0F + std::exp(-z));
}

/// 2 / (1 + e^-z): a gate that is 1 at 0.
LTXMEM_HOST_DEVICE inline float twice_sigmoid(float z) {
  return 2.0F / (1.0F + std::exp(-z));
}

}  // namespace ltxmem
