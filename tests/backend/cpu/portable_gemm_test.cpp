// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/portable_gemm.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <vector>

#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/linear_reference.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

/// product of x [rows, inner] and w [columns, inner], with scratch of exactly the stated size.
template <class T>
std::vector<float> multiply(TensorView<const T, 2> x, TensorView<const T, 2> w) {
  HostResource host;
  Tensor<std::byte, 1> scratch(host, {static_cast<std::int64_t>(PortableGemm::scratch_bytes<T>())});
  std::vector<float> product(static_cast<std::size_t>(x.extent(0) * w.extent(0)), 9.0F);
  PortableGemm().multiply(x, w, TensorView<float, 2>(product.data(), {x.extent(0), w.extent(0)}),
                          scratch.view().data());
  return product;
}

}  // namespace

TEMPLATE_TEST_CASE("portable gemm: matches the reference at every edge of its blocks", "", float, bfloat16, half) {
  for (const std::int64_t rows : {1, 5, 6, 7, 256}) {
    for (const std::int64_t columns : {1, 7, 8, 9, 33, 512}) {
      for (const std::int64_t inner : {1, 255, 256, 257}) {
        if (rows * columns > 4096 && inner != 257) continue;
        CAPTURE(rows, columns, inner);
        const auto x = random_values<TestType>(rows * inner, 1);
        const auto w = random_values<TestType>(columns * inner, 2);
        const std::vector<float> product = multiply(TensorView<const TestType, 2>(x.data(), {rows, inner}),
                                                    TensorView<const TestType, 2>(w.data(), {columns, inner}));
        const double error =
            relative_error(product, reference_product(as_doubles(x), as_doubles(w), rows, columns, inner));
        CHECK(error < 8e-6);
      }
    }
  }
}

TEST_CASE("portable gemm: a product over nothing is zero") {
  const std::vector<float> product =
      multiply(TensorView<const float, 2>(nullptr, {3, 0}), TensorView<const float, 2>(nullptr, {5, 0}));
  CHECK(product == std::vector<float>(15, 0.0F));
}

TEMPLATE_TEST_CASE("portable gemm: every number of rows and columns gives the same bits", "", float, bfloat16) {
  constexpr std::int64_t inner = 700;
  const auto x = random_values<TestType>(256 * inner, 3);
  const auto w = random_values<TestType>(64 * inner, 4);
  const TensorView<const TestType, 2> all_x(x.data(), {256, inner});
  const TensorView<const TestType, 2> all_w(w.data(), {64, inner});
  const std::vector<float> whole = multiply(all_x, all_w);
  for (const std::int64_t rows : {1, 2, 5, 6, 11, 100}) {
    for (const std::int64_t columns : {1, 3, 8, 13, 64}) {
      CAPTURE(rows, columns);
      const std::int64_t row = 256 - rows;
      const std::int64_t column = 64 - columns;
      const std::vector<float> part = multiply(all_x.rows(row, rows), all_w.rows(column, columns));
      std::int64_t different = 0;
      for (std::int64_t m = 0; m < rows; ++m) {
        different += std::memcmp(&part[static_cast<std::size_t>(m * columns)],
                                 &whole[static_cast<std::size_t>((row + m) * 64 + column)],
                                 static_cast<std::size_t>(columns) * sizeof(float)) != 0;
      }
      CHECK(different == 0);
    }
  }
}

TEST_CASE("portable gemm: strided operands give the bits of dense ones") {
  const auto x = random_values<float>(20 * 50, 5);
  const auto w = random_values<float>(30 * 50, 6);
  std::vector<float> dense_x;
  std::vector<float> dense_w;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 50 < 41) dense_x.push_back(x[i]);
  }
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (i % 50 < 41) dense_w.push_back(w[i]);
  }
  const std::vector<float> strided = multiply(TensorView<const float, 2>(x.data(), {20, 41}, {50, 1}),
                                              TensorView<const float, 2>(w.data(), {30, 41}, {50, 1}));
  const std::vector<float> dense = multiply(TensorView<const float, 2>(dense_x.data(), {20, 41}),
                                            TensorView<const float, 2>(dense_w.data(), {30, 41}));
  CHECK(strided == dense);
}
