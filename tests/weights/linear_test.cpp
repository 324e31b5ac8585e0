// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/weights/linear.hpp"

#include "weights/layers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

static_assert(LinearLayer<DenseLinear, float, CpuBackend<>>);
static_assert(LinearLayer<DenseLinear, bfloat16, DryRunBackend<CpuBackend<>::Target>>);

namespace {
struct WithoutSlices {
  std::int64_t inputs() const;
  std::int64_t outputs() const;
  template <Element T, HasLinear<T> Backend, class Out>
  void apply(Backend&, TensorView<const T, 2>, const LinearEpilogue<Out>&, TensorView<Out, 2>, Arena&) const;
  template <Element T, HasLinear<T> Backend>
  std::size_t workspace_bytes(const Backend&, std::int64_t) const;
};
}  // namespace
static_assert(!LinearLayer<WithoutSlices, float, CpuBackend<>>);
static_assert(!LinearLayer<DenseLinear, float, int>);
static_assert(!LinearLayer<DenseLinear, float8_e4m3, CpuBackend<>>);

TEMPLATE_TEST_CASE("dense linear: y = x W^T + bias", "", float, bfloat16, half) {
  const RandomMatrix<TestType> x(37, 29, 1);
  const RandomMatrix<bfloat16> w(19, 29, 2);
  const std::vector<float> bias = random_values<float>(19, 3);
  const DenseLinear layer(w.weight(), bias_view(bias));
  CHECK(layer.inputs() == 29);
  CHECK(layer.outputs() == 19);
  std::vector<double> expected = reference_product(x.doubles(), w.doubles(), 37, 19, 29);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += as_double(bias[i % 19]);
  CHECK(relative_error(apply<TestType>(layer, x), expected) < 2 * rounding<TestType> + 1e-6);
  CHECK(relative_error(apply<float>(layer, x, {}, 3), expected) < 1e-6);
  CHECK(dry_peak<TestType>(layer, x) == layer.template workspace_bytes<TestType>(CpuBackend<>(), 37));
}

TEST_CASE("dense linear: slices of the outputs side by side have the bits of the layer") {
  const RandomMatrix<bfloat16> x(40, 64, 1);
  const RandomMatrix<bfloat16> w(100, 64, 2);
  const std::vector<float> bias = random_values<float>(100, 3);
  const DenseLinear layer(w.weight(), bias_view(bias));
  const std::vector<bfloat16> whole = apply<bfloat16>(layer, x);
  for (const std::int64_t width : {1, 33, 50, 100, 101}) {
    CAPTURE(width);
    CHECK(same_bits(row_of_output_slices(layer, x, width), whole));
  }
}

TEST_CASE("dense linear: slices of the inputs add up, the bias counted once") {
  const RandomMatrix<float> x(40, 64, 1);
  const RandomMatrix<float> w(30, 64, 2);
  const std::vector<float> bias(30, 100.0F);
  const DenseLinear layer(w.weight(), bias_view(bias));
  std::vector<double> expected = reference_product(x.doubles(), w.doubles(), 40, 30, 64);
  for (double& value : expected) value += 100.0;
  for (const std::int64_t width : {1, 7, 32, 63, 64}) {
    CAPTURE(width);
    CHECK(relative_error(sum_of_input_slices(layer, x, width), expected) < 1e-6);
  }
}

TEST_CASE("dense linear: only the slice that ends at the last input keeps the bias") {
  const RandomMatrix<float> w(4, 10, 2);
  const std::vector<float> bias(4, 1.0F);
  const DenseLinear layer(w.weight(), bias_view(bias));
  CHECK(layer.slice_inputs(0, 9).bias().empty());
  CHECK(layer.slice_inputs(9, 1).bias().size == 4);
  CHECK(layer.slice_inputs(0, 10).bias().size == 4);
  CHECK(layer.slice_inputs(0, 9).slice_inputs(5, 4).bias().empty());
  CHECK(layer.slice_inputs(5, 5).slice_inputs(2, 3).bias().size == 4);
  CHECK(layer.slice_inputs(2, 5).weight().data == w.weight().data + 2 * sizeof(float));
  CHECK(layer.slice_outputs(1, 2).bias().size == 2);
  CHECK(layer.slice_outputs(1, 2).bias().data == layer.bias().data + sizeof(float));
}

TEST_CASE("dense linear: what does not fit is refused") {
  const RandomMatrix<float> w(4, 10, 2);
  const std::vector<float> bias(5, 1.0F);
  CHECK_THROWS_WITH(DenseLinear(w.weight(), bias_view(bias)), "linear: bias 5, outputs 4");
  const DenseLinear layer(w.weight());
  CHECK_THROWS_AS(layer.slice_outputs(3, 2), ShapeError);
  CHECK_THROWS_AS(layer.slice_inputs(-1, 2), ShapeError);
  CpuBackend<> backend;
  Arena none(nullptr, 0);
  LinearEpilogue<float> epilogue;
  epilogue.bias = bias_view(bias);
  CHECK_THROWS_AS(layer.apply(backend, TensorView<const float, 2>(nullptr, {0, 10}), epilogue,
                              TensorView<float, 2>(nullptr, {0, 4}), none),
                  ShapeError);
}

TEST_CASE("dense linear: a scale beside the weight applies to the product, not to the bias") {
  const RandomMatrix<float> x(3, 5, 1);
  const RandomMatrix<float> w(4, 5, 2);
  const std::vector<float> bias = random_values<float>(4, 3);
  const float scale = 0.25F;
  const DenseLinear layer(w.weight(&scale), bias_view(bias));
  std::vector<double> expected = reference_product(x.doubles(), w.doubles(), 3, 4, 5);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 0.25 * expected[i] + as_double(bias[i % 4]);
  CHECK(relative_error(apply<float>(layer, x), expected) < 1e-6);
}
