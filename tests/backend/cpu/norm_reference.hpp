// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/operations.hpp"
#include "support/numbers.hpp"

/// What the tests of norms share: views of vectors, and statistics of rows in double precision.

namespace ltxmem::test {

template <class T>
TensorView<T, 2> matrix(std::vector<T>& values, std::int64_t columns) {
  return {values.data(), {static_cast<std::int64_t>(values.size()) / columns, columns}};
}
template <class T>
TensorView<const T, 2> matrix(const std::vector<T>& values, std::int64_t columns) {
  return {values.data(), {static_cast<std::int64_t>(values.size()) / columns, columns}};
}
template <class T>
TensorView<const T, 1> line(const std::vector<T>& values) {
  return {values.data(), {static_cast<std::int64_t>(values.size())}};
}

/// Factor and mean of one row in double precision.
struct Statistics {
  double mean = 0.0;
  double factor = 1.0;
};
template <class T>
Statistics statistics(NormKind kind, const T* row, std::int64_t count, double eps) {
  double sum = 0.0;
  double squares = 0.0;
  for (std::int64_t i = 0; i < count; ++i) sum += as_double(row[i]);
  const double mean = kind == NormKind::layer ? sum / static_cast<double>(count) : 0.0;
  for (std::int64_t i = 0; i < count; ++i) squares += std::pow(as_double(row[i]) - mean, 2);
  if (kind == NormKind::none) return {};
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(count) + eps)};
}

/// A few roundings of fp32 on top of the one rounding to T.
template <class T>
constexpr double tolerance = 1.01 * test::rounding<T> + 16 * test::rounding<float>;

}  // namespace ltxmem::test
