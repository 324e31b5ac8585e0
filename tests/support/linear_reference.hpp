// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/operations.hpp"
#include "support/numbers.hpp"

/// Linear layers written as their formula, in double precision.

namespace ltxmem::test {

template <class T>
std::vector<double> as_doubles(const std::vector<T>& values) {
  std::vector<double> wide;
  wide.reserve(values.size());
  for (const T value : values) wide.push_back(as_double(value));
  return wide;
}

/// x w^T for x [., inner] and w [., inner]; result [rows of x, rows of w].
inline std::vector<double> reference_product(const std::vector<double>& x, const std::vector<double>& w,
                                             std::int64_t rows, std::int64_t columns, std::int64_t inner) {
  std::vector<double> product(static_cast<std::size_t>(rows * columns));
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t n = 0; n < columns; ++n) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < inner; ++k) {
        sum += x[static_cast<std::size_t>(m * inner + k)] * w[static_cast<std::size_t>(n * inner + k)];
      }
      product[static_cast<std::size_t>(m * columns + n)] = sum;
    }
  }
  return product;
}

inline double reference_activation(Activation activation, double z) {
  switch (activation) {
    case Activation::none: return z;
    case Activation::gelu_tanh:
      return 0.5 * z * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (z + 0.044715 * z * z * z)));
    case Activation::silu: return z / (1.0 + std::exp(-z));
    case Activation::twice_sigmoid: return 2.0 / (1.0 + std::exp(-z));
  }
  return std::nan("");
}

}  // namespace ltxmem::test
