// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/weights/lora_linear.hpp"

#include "ltxmem/weights/quantized_linear.hpp"
#include "weights/layers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

static_assert(LinearLayer<LoraLinear<QuantizedLinear>, bfloat16, CpuBackend<>>);
static_assert(!MatrixLayer<LoraLinear<DenseLinear>>);

namespace {

constexpr std::int64_t tokens = 270;
constexpr std::int64_t in = 40;
constexpr std::int64_t out = 90;

/// A base matrix and adapters of ranks 3, 8 and 1 with strengths 0.5, -1 and 2.
template <class T>
struct LoraProblem {
  RandomMatrix<T> x{tokens, in, 1};
  RandomMatrix<float> w{out, in, 2};
  std::vector<float> bias = random_values<float>(out, 3);
  std::vector<RandomMatrix<bfloat16>> down{{3, in, 4}, {8, in, 5}, {1, in, 6}};
  std::vector<RandomMatrix<bfloat16>> up{{out, 3, 7}, {out, 8, 8}, {out, 1, 9}};
  std::vector<float> strength{0.5F, -1.0F, 2.0F};

  DenseLinear base() const { return DenseLinear(w.weight(), bias_view(bias)); }
  std::vector<LoraAdapter> adapters(std::size_t count) const {
    std::vector<LoraAdapter> chosen;
    for (std::size_t i = 0; i < count; ++i) chosen.push_back({down[i].weight(), up[i].weight(), strength[i]});
    return chosen;
  }
  std::vector<double> expected(std::size_t count) const {
    std::vector<double> y = reference_product(x.doubles(), w.doubles(), tokens, out, in);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += as_double(bias[i % out]);
    for (std::size_t a = 0; a < count; ++a) {
      const std::int64_t rank = down[a].rows;
      const std::vector<double> reduced = reference_product(x.doubles(), down[a].doubles(), tokens, rank, in);
      const std::vector<double> delta = reference_product(reduced, up[a].doubles(), tokens, out, rank);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += as_double(strength[a]) * delta[i];
    }
    return y;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("lora linear: any number of adapters is added with its strength", "", float, bfloat16) {
  const LoraProblem<TestType> problem;
  for (const std::size_t count : {0U, 1U, 2U, 3U}) {
    CAPTURE(count);
    const LoraLinear<DenseLinear> layer(problem.base(), problem.adapters(count));
    CHECK(layer.adapters().size() == count);
    CHECK(relative_error(apply<TestType>(layer, problem.x), problem.expected(count)) < 4 * rounding<TestType> + 1e-6);
    CHECK(relative_error(apply<float>(layer, problem.x, {}, 2), problem.expected(count)) <
          4 * rounding<TestType> + 1e-6);
    CHECK(dry_peak<TestType>(layer, problem.x, 2) ==
          layer.template workspace_bytes<TestType>(CpuBackend<>({.threads = 2}), tokens));
  }
}

TEST_CASE("lora linear: without adapters it has the bits of its base, and strength zero too") {
  const LoraProblem<bfloat16> problem;
  const std::vector<bfloat16> base = apply<bfloat16>(problem.base(), problem.x);
  CHECK(same_bits(apply<bfloat16>(LoraLinear<DenseLinear>(problem.base(), {}), problem.x), base));
  std::vector<LoraAdapter> off = problem.adapters(1);
  off[0].strength = 0.0F;
  CHECK(same_bits(apply<bfloat16>(LoraLinear<DenseLinear>(problem.base(), off), problem.x), base));
}

TEST_CASE("lora linear: slices carry their part of every adapter") {
  const LoraProblem<float> problem;
  const LoraLinear<DenseLinear> layer(problem.base(), problem.adapters(3));
  const std::vector<float> whole = apply<float>(layer, problem.x);
  for (const std::int64_t width : {13, 45, 90}) {
    CAPTURE(width);
    CHECK(same_bits(row_of_output_slices(layer, problem.x, width), whole));
    CHECK(relative_error(sum_of_input_slices(layer, problem.x, width), problem.expected(3)) < 2e-6);
  }
}

TEST_CASE("lora linear: threads change no bit") {
  const LoraProblem<bfloat16> problem;
  const LoraLinear<DenseLinear> layer(problem.base(), problem.adapters(3));
  CHECK(same_bits(apply<bfloat16>(layer, problem.x, {}, 5), apply<bfloat16>(layer, problem.x)));
}

TEST_CASE("lora linear: the epilogue applies to the whole sum") {
  const LoraProblem<float> problem;
  const LoraLinear<DenseLinear> layer(problem.base(), problem.adapters(2));
  LinearEpilogue<float> epilogue;
  epilogue.activation = Activation::gelu_tanh;
  std::vector<double> expected = problem.expected(2);
  for (double& value : expected) value = reference_activation(Activation::gelu_tanh, value);
  CHECK(relative_error(apply<float>(layer, problem.x, epilogue), expected) < 2e-6);
}

TEST_CASE("lora linear: a quantized base keeps its scale to itself") {
  const RandomMatrix<float> x(20, in, 1);
  const RandomMatrix<float8_e4m3> q(out, in, 2);
  const RandomMatrix<float> down(4, in, 3);
  const RandomMatrix<float> up(out, 4, 4);
  const float scale = 0.125F;
  const LoraLinear<QuantizedLinear> layer(QuantizedLinear(q.weight(&scale)), {{down.weight(), up.weight(), 3.0F}});
  std::vector<double> expected = reference_product(x.doubles(), q.doubles(), 20, out, in);
  const std::vector<double> delta =
      reference_product(reference_product(x.doubles(), down.doubles(), 20, 4, in), up.doubles(), 20, out, 4);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = 0.125 * expected[i] + 3.0 * delta[i];
  CHECK(relative_error(apply<float>(layer, x), expected) < 2e-6);
}

TEST_CASE("lora linear: adapters that do not fit are refused") {
  const RandomMatrix<float> w(out, in, 2);
  const RandomMatrix<float> down(3, in, 3);
  const RandomMatrix<float> up(out, 3, 4);
  const DenseLinear base(w.weight());
  using Layer = LoraLinear<DenseLinear>;
  CHECK_NOTHROW(Layer(base, {{down.weight(), up.weight()}}));
  CHECK_THROWS_WITH(Layer(base, {{down.weight().column_slice(0, 39), up.weight()}}),
                    "lora linear: adapter inputs 39, layer inputs 40");
  CHECK_THROWS_WITH(Layer(base, {{down.weight(), up.weight().row_slice(0, 89)}}),
                    "lora linear: adapter outputs 89, layer outputs 90");
  CHECK_THROWS_WITH(Layer(base, {{down.weight().row_slice(0, 2), up.weight()}}), "lora linear: rank 2 of A, 3 of B");
}
