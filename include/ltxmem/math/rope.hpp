// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/config.hpp"

namespace ltxmem {

/// Turns the pair (a, b) by the angle with the given cosine and sine: a' = a cos - b sin, b' = b cos + a sin.
///
/// Source    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", equation 34
LTXMEM_HOST_DEVICE constexpr void rotate_pair(float& a, float& b, float cosine, float sine) noexcept {
  const float turned = a * cosine - b * sine;
  b = b * cosine + a * sine;
  a = turned;
}

}  // namespace ltxmem
