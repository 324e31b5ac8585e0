// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/weights/any_linear.hpp"

#include "ltxmem/weights/lora_linear.hpp"
#include "ltxmem/weights/quantized_linear.hpp"
#include "weights/layers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

using Cpu = CpuBackend<>;
static_assert(LinearLayer<AnyLinear<half, Cpu>, half, Cpu>);
static_assert(!LinearLayer<AnyLinear<half, Cpu>, float, Cpu>);
static_assert(!std::constructible_from<AnyLinear<float, Cpu>, WeightMatrix>);

TEMPLATE_TEST_CASE("any linear: has the bits and the workspace of the layer it holds", "", float, bfloat16) {
  using Any = AnyLinear<TestType, Cpu>;
  const RandomMatrix<TestType> x(30, 40, 1);
  const RandomMatrix<float8_e4m3> q(50, 40, 2);
  const RandomMatrix<bfloat16> down(6, 40, 3);
  const RandomMatrix<bfloat16> up(50, 6, 4);
  const std::vector<float> bias = random_values<float>(50, 5);
  const float scale = 0.5F;
  const QuantizedLinear quantized(q.weight(&scale), bias_view(bias));
  const LoraLinear<QuantizedLinear> lora(quantized, {{down.weight(), up.weight(), 0.5F}});
  const std::vector<Any> layers{DenseLinear(q.weight(&scale), bias_view(bias)), quantized, lora};
  CHECK(same_bits(apply<TestType>(layers[0], x), apply<TestType>(quantized, x)));
  CHECK(same_bits(apply<TestType>(layers[1], x), apply<TestType>(quantized, x)));
  CHECK(same_bits(apply<TestType>(layers[2], x), apply<TestType>(lora, x)));
  CHECK(same_bits(apply<float>(layers[2], x), apply<float>(lora, x)));
  const Cpu backend;
  CHECK(layers[2].workspace_bytes(backend, 30) == lora.template workspace_bytes<TestType>(backend, 30));
  CHECK(layers[2].inputs() == 40);
  CHECK(layers[2].outputs() == 50);
}

TEST_CASE("any linear: slices are slices of the layer it holds") {
  const RandomMatrix<float> x(30, 40, 1);
  const RandomMatrix<float> w(50, 40, 2);
  const std::vector<float> bias = random_values<float>(50, 5);
  const AnyLinear<float, Cpu> layer = DenseLinear(w.weight(), bias_view(bias));
  const std::vector<float> whole = apply<float>(layer, x);
  CHECK(same_bits(row_of_output_slices(layer, x, 17), whole));
  CHECK(relative_error(sum_of_input_slices(layer, x, 13), as_doubles(whole)) < 1e-6);
}

TEST_CASE("any linear: copies are independent values that share the layer") {
  const RandomMatrix<float> x(3, 4, 1);
  const RandomMatrix<float> w(5, 4, 2);
  const RandomMatrix<float> v(5, 4, 3);
  AnyLinear<float, Cpu> layer = DenseLinear(w.weight());
  const AnyLinear<float, Cpu> copy = layer;
  const std::vector<float> before = apply<float>(layer, x);
  layer = DenseLinear(v.weight());
  CHECK(same_bits(apply<float>(copy, x), before));
  CHECK_FALSE(same_bits(apply<float>(layer, x), before));
}
