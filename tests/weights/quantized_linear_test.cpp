// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/weights/quantized_linear.hpp"

#include "weights/layers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

static_assert(LinearLayer<QuantizedLinear, half, CpuBackend<>>);

TEMPLATE_TEST_CASE("quantized linear: y = scale x Q^T + bias", "", float, bfloat16) {
  const RandomMatrix<TestType> x(260, 50, 1);
  const RandomMatrix<float8_e4m3> q(70, 50, 2);
  const std::vector<float> bias = random_values<float>(70, 3);
  const float scale = 0.0625F;
  const QuantizedLinear layer(q.weight(&scale), bias_view(bias));
  std::vector<double> expected = reference_product(x.doubles(), q.doubles(), 260, 70, 50);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 0.0625 * expected[i] + as_double(bias[i % 70]);
  CHECK(relative_error(apply<TestType>(layer, x), expected) < 2 * rounding<TestType> + 1e-6);
  CHECK(same_bits(apply<TestType>(layer, x, {}, 3), apply<TestType>(layer, x)));
  CHECK(dry_peak<TestType>(layer, x) == layer.template workspace_bytes<TestType>(CpuBackend<>(), 260));
}

TEST_CASE("quantized linear: the scale is read when the layer is applied") {
  const RandomMatrix<float> x(2, 3, 1);
  const RandomMatrix<float8_e4m3> q(2, 3, 2);
  float scale = 1.0F;
  const QuantizedLinear layer(q.weight(&scale));
  const std::vector<float> before = apply<float>(layer, x);
  scale = 2.0F;
  const std::vector<float> after = apply<float>(layer, x);
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(after[i] == 2.0F * before[i]);
}

TEST_CASE("quantized linear: slices keep the scale") {
  const RandomMatrix<float> x(40, 64, 1);
  const RandomMatrix<float8_e4m3> q(100, 64, 2);
  const std::vector<float> bias = random_values<float>(100, 3);
  const float scale = 0.5F;
  const QuantizedLinear layer(q.weight(&scale), bias_view(bias));
  const std::vector<float> whole = apply<float>(layer, x);
  CHECK(same_bits(row_of_output_slices(layer, x, 33), whole));
  CHECK(relative_error(sum_of_input_slices(layer, x, 17), as_doubles(whole)) < 1e-6);
}

TEST_CASE("quantized linear: another type or a missing scale is refused") {
  const RandomMatrix<bfloat16> w(2, 3, 1);
  const RandomMatrix<float8_e4m3> q(2, 3, 1);
  const float scale = 1.0F;
  CHECK_THROWS_WITH(QuantizedLinear(w.weight(&scale)), "quantized linear: weight of type BF16, expected F8_E4M3");
  CHECK_THROWS_WITH(QuantizedLinear(q.weight()), "quantized linear: the weight has no scale");
}
