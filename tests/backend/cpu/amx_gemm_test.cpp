// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/amx_gemm.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/linear_reference.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

/// The order of summation that AmxGemm states, one element at a time.
float sum_of_products(const bfloat16* x, const bfloat16* w, std::int64_t inputs) {
  float sum = 0.0F;
  for (std::int64_t begin = 0; begin < inputs; begin += 32) {
    float part[2] = {0.0F, 0.0F};
    for (std::int64_t k = begin; k < std::min(begin + 32, inputs); ++k) {
      part[k % 2] = std::fma(static_cast<float>(x[k]), static_cast<float>(w[k]), part[k % 2]);
    }
    sum += part[0] + part[1];
  }
  return sum;
}

}  // namespace

TEST_CASE("amx gemm: every element is the sum in the stated order, at any size and with gaps between rows") {
  if (!AmxGemm::available()) return;
  const std::int64_t inner = GENERATE(1, 31, 32, 512, 1021, 1500);
  constexpr std::int64_t most_columns = 70;
  constexpr float untouched = 7.0F;
  const std::int64_t gap = GENERATE(0, 3);
  const auto x = random_values<bfloat16>(row_quantum * (inner + gap), 1);
  const auto w = random_values<bfloat16>(most_columns * (inner + gap), 2);
  HostResource host;
  Tensor<std::byte, 1> scratch(host, {static_cast<std::int64_t>(AmxGemm::scratch_bytes())});
  for (const std::int64_t rows : {1, 16, 33, 64}) {
    for (const std::int64_t columns : {1, 15, 32, 70}) {
      CAPTURE(inner, gap, rows, columns);
      std::vector<float> product(static_cast<std::size_t>(rows * columns + 1), untouched);
      AmxGemm::multiply({x.data(), {rows, inner}, {inner + gap, 1}}, {w.data(), {columns, inner}, {inner + gap, 1}},
                        {product.data(), {rows, columns}}, scratch.view().data());
      std::int64_t different = 0;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          const float expected =
              sum_of_products(x.data() + row * (inner + gap), w.data() + column * (inner + gap), inner);
          different += std::memcmp(&product[static_cast<std::size_t>(row * columns + column)], &expected, 4) != 0;
        }
      }
      CHECK(different == 0);
      CHECK(product.back() == untouched);
    }
  }
}

TEST_CASE("amx gemm: no inputs give zeros") {
  if (!AmxGemm::available()) return;
  const bfloat16 nothing;
  std::vector<float> product(6, 7.0F);
  HostResource host;
  Tensor<std::byte, 1> scratch(host, {static_cast<std::int64_t>(AmxGemm::scratch_bytes())});
  AmxGemm::multiply({&nothing, {2, 0}}, {&nothing, {3, 0}}, {product.data(), {2, 3}}, scratch.view().data());
  CHECK(product == std::vector<float>(6, 0.0F));
}
