// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ltxmem/core/dtype.hpp"

/// Reproducible test data, double precision twins of it, and the measure by which results are compared.

namespace ltxmem::test {

/// count values in [-1, 1), a function of the seed alone, rounded to T.
template <class T>
std::vector<T> random_values(std::int64_t count, std::uint32_t seed) {
  std::vector<T> values(static_cast<std::size_t>(count));
  std::uint32_t state = seed * 2654435761U + 12345U;
  for (T& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<T>(static_cast<float>(state >> 8) / 8388608.0F - 1.0F);
  }
  return values;
}

template <class T>
double as_double(T value) {
  return static_cast<double>(static_cast<float>(value));
}

/// Largest absolute difference, relative to the largest absolute expected value. NaN when any difference is NaN or the
/// counts differ.
template <class T>
double relative_error(const std::vector<T>& got, const std::vector<double>& expected) {
  double worst = 0.0;
  double largest = 0.0;
  if (got.size() != expected.size()) return std::nan("");
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(as_double(got[i]) - expected[i]);
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
    largest = std::max(largest, std::abs(expected[i]));
  }
  return largest > 0.0 ? worst / largest : worst;
}

/// Whether two results are equal to the bit; unlike ==, tells -0 from 0 and finds a NaN equal to itself.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Half a unit in the last place, relative: what one rounding to T costs at most.
template <class T>
inline constexpr double rounding = 0x1p-24;
template <>
inline constexpr double rounding<bfloat16> = 0x1p-8;
template <>
inline constexpr double rounding<half> = 0x1p-11;

}  // namespace ltxmem::test
