// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ltxmem/core/error.hpp"

namespace ltxmem {

/// Parts of a total in proportion to weights of any scale, one after another; their ends are rounded, so no part is off
/// by more than one.
///
/// Throws    ShapeError for weights that are negative or all zero
inline std::vector<std::int64_t> weighted_shares(std::int64_t total, std::span<const double> weights) {
  double sum = 0;
  for (const double weight : weights) {
    expects(weight >= 0 && std::isfinite(weight), "shares: weight ", weight, ", expected at least 0");
    sum += weight;
  }
  expects(sum > 0, "shares: all weights are 0");
  std::vector<std::int64_t> shares;
  double until = 0;
  std::int64_t given = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    until += weights[i];
    const std::int64_t end = std::llround(static_cast<double>(total) * (until / sum));
    shares.push_back((i + 1 == weights.size() ? total : std::min(end, total)) - given);
    given += shares.back();
  }
  return shares;
}

}  // namespace ltxmem
