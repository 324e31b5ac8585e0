// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "backend/cpu/convolution_suite.hpp"
#include "backend/cpu/linear_suite.hpp"
#include "cuda/runners.hpp"
#include "ffn/chunked_ffn_suite.hpp"
#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "ltxmem/backend/cuda/target.hpp"
#include "support/attention_reference.hpp"

/// CudaBackend and the primitives on it against double precision. The program runs on a device, and says that it did
/// nothing where there is none.

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

bool has_device() {
  if (cuda_device_count() > 0) return true;
  WARN("skipped: there is no CUDA device");
  return false;
}

template <class T, class W, class Out>
std::vector<Out> run(const LinearProblem<T, W, Out>& problem, const Parts& parts, std::int64_t chunk = 0,
                     const float* scale = nullptr, float strength = 1.0F) {
  std::vector<Out> y(static_cast<std::size_t>(problem.tokens * problem.outputs), Out(7.0F));
  LinearTerm<T> term{problem.x_view(), problem.weight(), strength};
  term.weight.scale = scale;
  on_device::linear<T, Out>(std::span<const LinearTerm<T>>(&term, 1), problem.epilogue(parts),
                            TensorView<Out, 2>(y.data(), {problem.tokens, problem.outputs}), chunk);
  return y;
}

template <class T>
AttentionOutput<T> attend(const AttentionProblem<T>& p, std::int64_t query_tile, std::int64_t key_tile,
                          on_device::Keys keys) {
  AttentionOutput<T> got{std::vector<T>(p.q.size()), std::vector<float>(static_cast<std::size_t>(p.queries * p.heads))};
  const TiledAttentionOptions options{.heads = p.heads,
                                      .kv_heads = p.kv_heads,
                                      .scale = p.scale,
                                      .causal = p.causal,
                                      .window = p.window,
                                      .query_tile = query_tile,
                                      .key_tile = key_tile};
  on_device::tiled_attention<T>(tile_of(p), options, keys, {}, {got.out.data(), {p.queries, p.heads * p.head_dim}},
                                {got.lse.data(), {p.queries, p.heads}});
  return got;
}

/// The matrix units round the weights of the values to T.
template <class T>
constexpr double attention_tolerance = std::is_same_v<T, float> ? 4e-6 : 2.5 * rounding<T>;

template <class T>
void check_attended(const AttentionProblem<T>& p, const AttentionOutput<T>& got) {
  check_against_reference(p, got, attention_tolerance<T>);
}

}  // namespace

TEMPLATE_TEST_CASE("products on a device match the reference", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  for (const auto& [tokens, inputs, outputs] : {LinearShape{1, 1, 1}, LinearShape{5, 3, 70}, LinearShape{7, 64, 17},
                                                LinearShape{130, 40, 33}, LinearShape{3, 300, 8}}) {
    CAPTURE(tokens, inputs, outputs);
    const LinearProblem<TestType> problem(tokens, inputs, outputs);
    CHECK(relative_error(run(problem, {}), problem.expected()) < linear_tolerance<TestType>(inputs));
  }
}

TEMPLATE_TEST_CASE("every epilogue on a device matches the reference, to T and to float", "[device]", float, bfloat16,
                   half) {
  if (!has_device()) return;
  using T = TestType;
  for (const Parts& parts :
       {Parts{.bias = true}, Parts{.addend = true}, Parts{.gate = true}, Parts{.gate = true, .gate_index = true},
        Parts{.residual = true}, Parts{.addend = true, .residual = true},
        Parts{.bias = true, .activation = Activation::gelu_tanh}, Parts{.activation = Activation::gelu_tanh},
        Parts{.residual = true, .activation = Activation::gelu_tanh}, Parts{.activation = Activation::silu},
        Parts{true, true, true, true, true, Activation::twice_sigmoid}}) {
    CAPTURE(parts.bias, parts.addend, parts.gate, parts.gate_index, parts.residual, static_cast<int>(parts.activation));
    const LinearProblem<T> problem(37, 24, 52);
    CHECK(relative_error(run(problem, parts), problem.expected(parts)) < linear_tolerance<T>(24));
    const LinearProblem<T, T, float> wide(37, 24, 51);
    CHECK(relative_error(run(wide, parts), wide.expected(parts)) < linear_tolerance<float>(24));
  }
}

TEMPLATE_TEST_CASE("a bias of the activations' type goes into the product", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  using T = TestType;
  const LinearProblem<T> problem(9, 16, 24);
  const auto bias = random_values<T>(24, 3);
  LinearEpilogue<T> epilogue;
  epilogue.bias = TensorView<const T, 1>(bias.data(), {24});
  epilogue.activation = Activation::gelu_tanh;
  const LinearTerm<T> term{problem.x_view(), problem.weight()};
  std::vector<T> y(9 * 24);
  on_device::linear<T, T>(std::span<const LinearTerm<T>>(&term, 1), epilogue, TensorView<T, 2>(y.data(), {9, 24}));
  std::vector<double> expected = problem.expected();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = reference_activation(Activation::gelu_tanh, expected[i] + as_double(bias[i % 24]));
  }
  CHECK(relative_error(y, expected) < linear_tolerance<T>(16));
}

TEMPLATE_TEST_CASE("token chunks change no bit on a device", "[device]", float, bfloat16) {
  if (!has_device()) return;
  const LinearProblem<TestType> problem(1100, 24, 20);
  for (const Parts& parts : {Parts{.residual = true}, Parts{true, true, true, true, true, Activation::gelu_tanh}}) {
    const auto once = run(problem, parts);
    for (const std::int64_t chunk : {100, 256, 1030}) {
      CHECK(same_bits(run(problem, parts, chunk), once));
    }
  }
}

TEMPLATE_TEST_CASE("weights of another type are expanded, and their scale is read on the device", "[device]", float,
                   bfloat16, half) {
  if (!has_device()) return;
  using T = TestType;
  const float scale = 0.375F;
  const LinearProblem<T, float8_e4m3> narrow(30, 20, 70);
  CHECK(relative_error(run(narrow, {.bias = true}, 0, &scale, 2.0F), narrow.expected({.bias = true}, 0.75)) <
        linear_tolerance<T>(20));
  CHECK(relative_error(run(narrow, {.residual = true}, 0, &scale), narrow.expected({.residual = true}, 0.375)) <
        linear_tolerance<T>(20));
  const LinearProblem<T, half> other(30, 19, 7);
  CHECK(relative_error(run(other, {}), other.expected()) < linear_tolerance<T>(19));
  const LinearProblem<T, float> wide(30, 19, 7);
  CHECK(relative_error(run(wide, {}), wide.expected()) < 2 * linear_tolerance<T>(19));
}

TEMPLATE_TEST_CASE("several terms add up on a device", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  using T = TestType;
  const LinearProblem<T, float8_e4m3> base(1040, 16, 20);
  LinearProblem<T> second(1040, 8, 20);
  LinearProblem<T, float> third(1040, 4, 20);
  std::reverse(second.w.begin(), second.w.end());  // or they would begin like those of the base
  std::reverse(third.w.begin(), third.w.end());
  const float scale = 0.5F;
  std::vector<LinearTerm<T>> terms{{base.x_view(), base.weight()},
                                   {second.x_view(), second.weight(), 0.25F},
                                   {third.x_view(), third.weight(), 2.0F}};
  terms[0].weight.scale = &scale;
  terms[2].weight.scale = &scale;
  std::vector<double> sums(1040 * 20);
  const auto add = [&](const auto& problem, double factor) {
    const auto product = reference_product(as_doubles(problem.x), as_doubles(problem.w), 1040, 20, problem.inputs);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += factor * product[i];
  };
  add(base, 0.5);
  add(second, 0.25);
  add(third, 1.0);
  const Parts parts{.bias = true, .residual = true, .activation = Activation::silu};
  std::vector<T> y(1040 * 20);
  on_device::linear<T, T>(terms, base.epilogue(parts), TensorView<T, 2>(y.data(), {1040, 20}));
  CHECK(relative_error(y, base.finish(sums, parts)) < 2 * linear_tolerance<T>(28));
}

TEMPLATE_TEST_CASE("norms on a device match the reference", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  using T = TestType;
  for (const std::int64_t channels : {40, 33}) {
    const std::int64_t rows = 5;
    const auto x = random_values<T>(rows * channels, 1);
    const auto weight = random_values<bfloat16>(channels, 2);
    const auto scale = random_values<float>(2 * channels, 3);
    const std::vector<std::int32_t> index{1, 0, 1, 1, 0};
    NormArguments<T> a;
    a.weight = TensorView<const bfloat16, 1>(weight.data(), {channels});
    a.scale = {{scale.data(), {2, channels}}, {index.data(), {rows}}};
    a.residual = {x.data(), {rows, channels}};
    std::vector<T> y(x.size());
    on_device::norm<T>({x.data(), {rows, channels}}, a, {y.data(), {rows, channels}});
    std::vector<double> expected;
    for (std::int64_t n = 0; n < rows; ++n) {
      double square = 0.0;
      const auto at = [&](std::int64_t c) { return as_double(x[static_cast<std::size_t>(n * channels + c)]); };
      for (std::int64_t c = 0; c < channels; ++c) square += at(c) * at(c) / static_cast<double>(channels);
      for (std::int64_t c = 0; c < channels; ++c) {
        const auto row = static_cast<std::size_t>(index[static_cast<std::size_t>(n)] * channels + c);
        expected.push_back(at(c) / std::sqrt(square + 1e-6) * as_double(weight[static_cast<std::size_t>(c)]) *
                               (1.0 + as_double(scale[row])) +
                           at(c));
      }
    }
    CHECK(relative_error(y, expected) < 1.01 * rounding<T> + 2e-6);
  }
}

TEMPLATE_TEST_CASE("head norms on a device match the reference, also with given factors", "[device]", float, bfloat16,
                   half) {
  if (!has_device()) return;
  using T = TestType;
  const std::int64_t rows = 3, heads = 2, head_dim = 12, width = heads * head_dim, frequencies = 6;
  const auto x = random_values<T>(rows * width, 1);
  const auto cosine = random_values<float>(4 * frequencies, 2);
  const auto sine = random_values<float>(4 * frequencies, 3);
  const std::vector<std::int32_t> coordinate{0, 3, 2, 1, 1, 2};
  HeadNormArguments a;
  a.heads = heads;
  a.rotary.cosine = {cosine.data(), {4, frequencies}};
  a.rotary.sine = {sine.data(), {4, frequencies}};
  a.rotary.coordinate = {coordinate.data(), {rows, 2}};
  std::vector<double> expected(x.size());
  for (std::int64_t n = 0; n < rows; ++n) {
    const auto at = [&](std::int64_t c) { return as_double(x[static_cast<std::size_t>(n * width + c)]); };
    double square = 0.0;
    for (std::int64_t c = 0; c < width; ++c) square += at(c) * at(c) / static_cast<double>(width);
    const double factor = 1.0 / std::sqrt(square + 1e-6);
    for (std::int64_t slot = 0; slot < width / 2; ++slot) {
      const std::int64_t low = slot / (head_dim / 2) * head_dim + slot % (head_dim / 2);
      const std::int64_t high = low + head_dim / 2;
      const auto entry =
          static_cast<std::size_t>(coordinate[static_cast<std::size_t>(n * 2 + slot % 2)] * frequencies + slot / 2);
      const double c = as_double(cosine[entry]), s = as_double(sine[entry]);
      expected[static_cast<std::size_t>(n * width + low)] = factor * (at(low) * c - at(high) * s);
      expected[static_cast<std::size_t>(n * width + high)] = factor * (at(high) * c + at(low) * s);
    }
  }
  std::vector<T> y = x;
  on_device::head_norm<T>({y.data(), {rows, width}}, a, false);
  CHECK(relative_error(y, expected) < 1.01 * rounding<T> + 2e-6);
  std::vector<T> factored = x;
  on_device::head_norm<T>({factored.data(), {rows, width}}, a, true);
  CHECK(same_bits(factored, y));
}

/// `shift`: see on_device::convolve.
template <class T>
void check_convolved(const Convolution<T>& c, std::int64_t shift = 0) {
  std::vector<T> y(c.residual.size());
  on_device::convolve<T>({c.x.data(), c.input}, c.arguments(), {y.data(), c.output()}, shift);
  CHECK(relative_error(y, c.exact()) < convolution_tolerance<T>);
}

template <class T>
void check_convolved(const Transposed<T>& t) {
  std::vector<T> y(static_cast<std::size_t>(t.output_length() * t.outputs));
  on_device::convolve_transposed<T>({t.x.data(), {t.length, t.channels}}, t.arguments,
                                    {y.data(), {t.output_length(), t.outputs}});
  CHECK(relative_error(y, t.exact()) < convolution_tolerance<T>);
}

TEMPLATE_TEST_CASE("convolutions on a device match their definition", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  check_convolved(Convolution<TestType>({3, 4, 5, 6}, 5, cube));
  check_convolved(Transposed<TestType>(7, 5, 3, 4, 2, 1));
}

TEMPLATE_TEST_CASE("convolutions whose channels are whole pieces match their definition on a device", "[device]", float,
                   bfloat16, half) {
  if (!has_device()) return;
  const Convolution<TestType> c({2, 5, 14, 16}, 131, cube);
  for (const std::int64_t shift : {0, 4}) check_convolved(c, shift);
  check_convolved(Transposed<TestType>(70, 8, 3, 4, 2, 1));
}

TEST_CASE("the matrix units take a convolution's weights in the type of x, and fp32 those whose x they cannot read",
          "[device]") {
  if (!has_device()) return;
  using T = bfloat16;
  Convolution<T> c({1, 4, 4, 8}, 12, cube);
  const auto wide = random_values<float>(static_cast<std::int64_t>(c.weight.size()), 2);
  std::transform(wide.begin(), wide.end(), c.weight.begin(), [](float weight) { return static_cast<T>(weight); });
  ConvolutionArguments<T> exact = c.arguments();
  exact.weight = TensorView<const float, 2>(wide.data(), {c.outputs, 8 * 27});
  const auto run = [&](const ConvolutionArguments<T>& arguments, std::int64_t shift) {
    std::vector<T> y(c.residual.size());
    on_device::convolve<T>({c.x.data(), c.input}, arguments, {y.data(), c.output()}, shift);
    return y;
  };
  CHECK(same_bits(run(exact, 0), run(c.arguments(), 0)));
  CHECK_FALSE(same_bits(run(exact, 1), run(c.arguments(), 1)));
}

TEST_CASE("outputs of a convolution go group by group where the weights of all take too much", "[device]") {
  if (!has_device()) return;
  using T = bfloat16;
  const Convolution<T> c({1, 1, 2, 65'544}, 129, {});
  CHECK(CudaTarget().convolution_workspace_bytes<T>(c.matrix(), c.geometry) == 128 * 65'544 * sizeof(T));
  std::vector<T> y(c.residual.size());
  on_device::convolve<T>({c.x.data(), c.input}, c.arguments(), {y.data(), c.output()});
  CHECK(relative_error(y, c.exact()) < convolution_tolerance<T>);
}

TEMPLATE_TEST_CASE("group norm runs by for_each on a device", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  using T = TestType;
  const std::int64_t rows = 300, channels = 8, groups = 2, width = channels / groups;
  const auto x = random_values<T>(rows * channels, 1);
  const auto weight = random_values<half>(channels, 2);
  std::vector<T> y(x.size());
  on_device::group_norm<T>({x.data(), {rows, channels}}, groups, TensorView<const half, 1>(weight.data(), {channels}),
                           {y.data(), {rows, channels}});
  std::vector<double> expected(x.size());
  for (std::int64_t g = 0; g < groups; ++g) {
    double mean = 0.0, square = 0.0;
    const auto each = [&](auto&& fn) {
      for (std::int64_t n = 0; n < rows; ++n) {
        for (std::int64_t c = g * width; c < (g + 1) * width; ++c) fn(static_cast<std::size_t>(n * channels + c), c);
      }
    };
    each([&](std::size_t i, std::int64_t) { mean += as_double(x[i]) / static_cast<double>(rows * width); });
    each([&](std::size_t i, std::int64_t) {
      square += std::pow(as_double(x[i]) - mean, 2) / static_cast<double>(rows * width);
    });
    each([&](std::size_t i, std::int64_t c) {
      expected[i] =
          (as_double(x[i]) - mean) / std::sqrt(square + 1e-5) * as_double(weight[static_cast<std::size_t>(c)]);
    });
  }
  CHECK(relative_error(y, expected) < 1.01 * rounding<T> + 4e-6);
}

TEMPLATE_TEST_CASE("attention on a device matches double precision from every store", "[device]", float, bfloat16,
                   half) {
  if (!has_device()) return;
  using T = TestType;
  for (const std::int64_t head_dim : {20, 64}) {
    AttentionProblem<T> p{.queries = 19, .keys = 700, .heads = 2, .kv_heads = 1, .head_dim = head_dim};
    p.randomise(11);
    const AttentionOutput<T> once = attend(p, 0, 0, on_device::Keys::resident);
    check_attended(p, once);
    for (const on_device::Keys keys : {on_device::Keys::resident, on_device::Keys::host, on_device::Keys::recomputed}) {
      const AttentionOutput<T> cut = attend(p, 256, 256, keys);
      CHECK(same_bits(cut.out, once.out));
      CHECK(same_bits(cut.lse, once.lse));
    }
  }
  AttentionProblem<T> p{.queries = 70, .keys = 300, .heads = 2, .kv_heads = 2, .head_dim = 64, .causal = true};
  p.randomise(5);
  p.query_begin = 200;
  check_attended(p, attend(p, 0, 256, on_device::Keys::host));
  p.window = 90;
  p.randomise_mask(7);
  check_attended(p, attend(p, 0, 256, on_device::Keys::resident));
}

TEMPLATE_TEST_CASE("two states merge on a device", "[device]", float, bfloat16, half) {
  if (!has_device()) return;
  using T = TestType;
  AttentionProblem<T> p{.queries = 5, .keys = 530, .heads = 2, .kv_heads = 2, .head_dim = 64};
  p.randomise(3);
  std::vector<T> out(p.q.size());
  on_device::merged_attention<T>(tile_of(p), {out.data(), {p.queries, p.heads * p.head_dim}});
  CHECK(relative_error(out, reference_attention(p).out) < attention_tolerance<T>);
}

TEMPLATE_TEST_CASE("a chunked feed-forward network on a device matches the reference", "[device]", float, bfloat16,
                   half) {
  if (!has_device()) return;
  using T = TestType;
  const std::int64_t tokens = 300, width = 16, hidden = 40;
  const LinearProblem<T> up(tokens, width, hidden);
  const LinearProblem<T, float8_e4m3> down(tokens, hidden, width);
  std::vector<double> middle = up.expected({.bias = true, .activation = Activation::gelu_tanh});
  std::vector<double> rounded;
  for (const double value : middle) rounded.push_back(as_double(T(static_cast<float>(value))));
  const Parts parts{.gate = true, .gate_index = true, .residual = true};
  const std::vector<double> expected =
      down.finish(reference_product(rounded, as_doubles(down.w), tokens, width, hidden), parts);
  const auto run_ffn = [&](const ChunkedFfnOptions& options) {
    std::vector<T> y(static_cast<std::size_t>(tokens * width));
    on_device::ffn<T>(up.x_view(), up.weight(), TensorView<const float, 1>(up.bias.data(), {hidden}), down.weight(), {},
                      options, down.epilogue(parts), {y.data(), {tokens, width}});
    return y;
  };
  const std::vector<T> once = run_ffn({});
  CHECK(relative_error(once, expected) < 4 * linear_tolerance<T>(hidden));
  CHECK(same_bits(run_ffn({.token_chunk = 256}), once));
  CHECK(relative_error(run_ffn({.token_chunk = 256, .hidden_chunk = 24}), expected) < 4 * linear_tolerance<T>(hidden));
}

TEMPLATE_TEST_CASE("a gated feed-forward network on a device matches the reference", "[device]", float, bfloat16,
                   half) {
  if (!has_device()) return;
  using T = TestType;
  const FfnProblem<T> p(300, 16, 40, 24);
  const auto sums = [&](const RandomMatrix<T>& w) {
    return reference_product(p.x.doubles(), w.doubles(), p.tokens, p.hidden, 16);
  };
  std::vector<double> activations = sums(p.gate);
  const std::vector<double> values = sums(p.up);
  for (std::size_t i = 0; i < activations.size(); ++i) {
    activations[i] = reference_activation(Activation::gelu_tanh, activations[i]) * values[i];
  }
  const std::vector<double> expected = reference_product(activations, p.down.doubles(), p.tokens, 24, p.hidden);
  const auto run = [&](const ChunkedFfnOptions& options) {
    std::vector<T> y(static_cast<std::size_t>(p.tokens * 24));
    on_device::gated_ffn<T>(p.x.view(), p.gate.weight(), p.up.weight(), p.down.weight(), options,
                            {y.data(), {p.tokens, 24}});
    return y;
  };
  const std::vector<T> once = run({});
  CHECK(relative_error(once, expected) < 4 * linear_tolerance<T>(p.hidden));
  CHECK(same_bits(run({.token_chunk = 256}), once));
  CHECK(relative_error(run({.token_chunk = 256, .hidden_chunk = 24}), expected) < 4 * linear_tolerance<T>(p.hidden));
}

TEST_CASE("rows stream through two slots, in and out, while they are worked on", "[device]") {
  if (!has_device()) return;
  const auto from = random_values<float>(53 * 7, 1);
  std::vector<float> to(from.size());
  on_device::double_through_slots({from.data(), {53, 7}}, 5, {to.data(), {53, 7}});
  std::vector<float> expected = from;
  for (float& value : expected) value *= 2.0F;
  CHECK(same_bits(to, expected));
}

TEST_CASE("copies convert elements on a device, beyond the rows of one launch", "[device]") {
  if (!has_device()) return;
  const std::int64_t rows = 65'600;
  const auto from = random_values<float>(rows, 1);
  std::vector<bfloat16> narrow(from.size());
  on_device::convert<float, bfloat16>({from.data(), {rows, 1}}, {narrow.data(), {rows, 1}});
  std::vector<float> back(from.size());
  on_device::convert<bfloat16, float>({narrow.data(), {rows / 4, 4}}, {back.data(), {rows / 4, 4}});
  std::int64_t different = 0;
  for (std::size_t i = 0; i < from.size(); ++i) different += back[i] != static_cast<float>(bfloat16(from[i]));
  CHECK(different == 0);
}

TEST_CASE("a device without memory says what was asked and what it has", "[device]") {
  if (!has_device()) return;
  const std::string text = on_device::exhaust_memory();
  CHECK(text.starts_with("device memory: out of memory: asked for "));
}
