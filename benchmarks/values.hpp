// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

/// Operands of benchmarks, the same on every machine, and one number that stands for a result: benchmarks/peers makes
/// the same operands and compares that number.

namespace ltxmem::bench {

/// Steps of a linear congruential generator (Numerical Recipes, section 7.1), brought to [-size, size).
template <class T>
std::vector<T> some_values(std::int64_t count, std::uint32_t seed, float size = 1.0F) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) {
    seed = seed * 1664525U + 1013904223U;
    value = T((static_cast<float>(seed >> 8) / 8388608.0F - 1.0F) * size);
  }
  return values;
}

/// Sum over the result of each element times one of some_values(count, 99): sees every element and its place.
template <class T>
double projection(const std::vector<T>& result) {
  const std::vector<float> onto = some_values<float>(static_cast<std::int64_t>(result.size()), 99);
  double sum = 0.0;
  for (std::size_t i = 0; i < result.size(); ++i) {
    sum += static_cast<double>(static_cast<float>(result[i])) * static_cast<double>(onto[i]);
  }
  return sum;
}

}  // namespace ltxmem::bench
