// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/linear_reference.hpp"

/// What the linear operation must do with any gemm: problems with known answers, and the ways to cut them up.

namespace ltxmem::test {

/// Which parts of the epilogue a run uses.
struct Parts {
  bool bias = false;
  bool addend = false;
  bool gate = false;
  bool gate_index = false;
  bool residual = false;
  Activation activation = Activation::none;
};

/// Random operands of one linear operation; weights have type W, the output type Out.
template <class T, class W = T, class Out = T>
struct LinearProblem {
  static constexpr std::int64_t distinct = 3;

  LinearProblem(std::int64_t token_count, std::int64_t input_count, std::int64_t output_count)
      : tokens(token_count),
        inputs(input_count),
        outputs(output_count),
        x(random_values<T>(tokens * inputs, 1)),
        w(random_values<W>(outputs * inputs, 2)),
        bias(random_values<float>(outputs, 3)),
        addend(random_values<float>(tokens * outputs, 4)),
        gate(random_values<float>(distinct * outputs, 5)),
        residual(random_values<Out>(tokens * outputs, 6)) {
    for (std::int64_t n = 0; n < tokens; ++n) index.push_back(static_cast<std::int32_t>((n * 7 + 2) % distinct));
  }

  WeightMatrix weight() const { return TensorView<const W, 2>(w.data(), {outputs, inputs}); }
  TensorView<const T, 2> x_view() const { return {x.data(), {tokens, inputs}}; }

  LinearEpilogue<Out> epilogue(const Parts& parts) const {
    LinearEpilogue<Out> chosen;
    chosen.activation = parts.activation;
    if (parts.bias) chosen.bias = TensorView<const float, 1>(bias.data(), {outputs});
    if (parts.addend) chosen.addend = {addend.data(), {tokens, outputs}};
    if (parts.residual) chosen.residual = {residual.data(), {tokens, outputs}};
    if (parts.gate) {
      chosen.gate.rows = {gate.data(), {distinct, outputs}};
      if (parts.gate_index) chosen.gate.index = {index.data(), {tokens}};
    }
    return chosen;
  }

  /// The answer, from a sum of products computed elsewhere.
  std::vector<double> finish(std::vector<double> sums, const Parts& parts) const {
    for (std::int64_t n = 0; n < tokens; ++n) {
      for (std::int64_t c = 0; c < outputs; ++c) {
        const auto at = static_cast<std::size_t>(n * outputs + c);
        const auto column = static_cast<std::size_t>(c);
        double value = sums[at];
        if (parts.addend) value += as_double(addend[at]);
        if (parts.bias) value += as_double(bias[column]);
        value = reference_activation(parts.activation, value);
        if (parts.gate) {
          const std::int64_t row = parts.gate_index ? index[static_cast<std::size_t>(n)] : 0;
          value *= as_double(gate[static_cast<std::size_t>(row * outputs) + column]);
        }
        if (parts.residual) value += as_double(residual[at]);
        sums[at] = value;
      }
    }
    return sums;
  }

  std::vector<double> expected(const Parts& parts = {}, double factor = 1.0) const {
    std::vector<double> sums = reference_product(as_doubles(x), as_doubles(w), tokens, outputs, inputs);
    for (double& sum : sums) sum *= factor;
    return finish(std::move(sums), parts);
  }

  std::int64_t tokens;
  std::int64_t inputs;
  std::int64_t outputs;
  std::vector<T> x;
  std::vector<W> w;
  std::vector<float> bias;
  std::vector<float> addend;
  std::vector<float> gate;
  std::vector<Out> residual;
  std::vector<std::int32_t> index;
};

/// Runs terms over chunks of rows on a backend with this many threads, in exactly the workspace that the formula
/// states, and checks that the arena was used up to that size.
template <class Gemm, class T, class Out>
void run_linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
                int threads = 1, std::int64_t chunk = 0) {
  CpuBackend<Gemm> backend({.threads = threads});
  const std::int64_t tokens = y.extent(0);
  if (chunk == 0) chunk = std::max<std::int64_t>(tokens, 1);
  std::size_t bytes = 0;
  for (const LinearTerm<T>& term : terms) {
    bytes = std::max(bytes, backend.template linear_workspace_bytes<T>(std::min(chunk, tokens), term.weight));
  }
  HostResource host;
  Arena arena(host, bytes);
  for (std::int64_t begin = 0; begin < tokens; begin += chunk) {
    const std::int64_t count = std::min(chunk, tokens - begin);
    std::vector<LinearTerm<T>> part(terms.begin(), terms.end());
    for (LinearTerm<T>& term : part) term.x = term.x.rows(begin, count);
    backend.linear(std::span<const LinearTerm<T>>(part), epilogue.tokens(begin, count), y.rows(begin, count), arena);
  }
  CHECK(arena.peak_bytes() == bytes);
  CHECK(arena.used_bytes() == 0);
}

template <class Gemm, class T, class W, class Out>
std::vector<Out> run_problem(const LinearProblem<T, W, Out>& problem, const Parts& parts = {}, int threads = 1,
                             std::int64_t chunk = 0, const float* scale = nullptr, float strength = 1.0F) {
  std::vector<Out> y(static_cast<std::size_t>(problem.tokens * problem.outputs), Out(7.0F));
  LinearTerm<T> term{problem.x_view(), problem.weight(), strength};
  term.weight.scale = scale;
  run_linear<Gemm, T, Out>(std::span<const LinearTerm<T>>(&term, 1), problem.epilogue(parts),
                           TensorView<Out, 2>(y.data(), {problem.tokens, problem.outputs}), threads, chunk);
  return y;
}

/// Twice the rounding of the output and of fp32 sums over this many products of numbers up to 1.
template <class Out>
double linear_tolerance(std::int64_t inputs) {
  return 2.0 * rounding<Out> + 4.0 * rounding<float> * std::sqrt(static_cast<double>(inputs) + 1.0);
}

struct LinearShape {
  std::int64_t tokens;
  std::int64_t inputs;
  std::int64_t outputs;
};

template <class Gemm, class T>
void products_match_the_reference() {
  for (const auto& [tokens, inputs, outputs] :
       {LinearShape{1, 1, 1}, LinearShape{1, 300, 5}, LinearShape{5, 3, 700}, LinearShape{7, 64, 17},
        LinearShape{257, 40, 33}, LinearShape{300, 1100, 66}, LinearShape{513, 2, 1030}, LinearShape{3, 0, 4}}) {
    CAPTURE(tokens, inputs, outputs);
    const LinearProblem<T> problem(tokens, inputs, outputs);
    CHECK(relative_error(run_problem<Gemm>(problem, {}, 2), problem.expected()) < linear_tolerance<T>(inputs));
  }
}

template <class Gemm, class T, class Out>
void epilogues_match_the_reference() {
  const LinearProblem<T, T, Out> problem(270, 48, 130);
  for (const Parts& parts :
       {Parts{.bias = true}, Parts{.addend = true}, Parts{.gate = true}, Parts{.gate = true, .gate_index = true},
        Parts{.residual = true}, Parts{.activation = Activation::gelu_tanh}, Parts{.activation = Activation::silu},
        Parts{.activation = Activation::twice_sigmoid}, Parts{true, true, true, true, true, Activation::gelu_tanh}}) {
    CAPTURE(parts.bias, parts.addend, parts.gate, parts.gate_index, parts.residual, static_cast<int>(parts.activation));
    CHECK(relative_error(run_problem<Gemm>(problem, parts), problem.expected(parts)) < linear_tolerance<Out>(48));
  }
}

template <class Gemm, class T>
void chunks_and_threads_keep_the_bits() {
  const LinearProblem<T> problem(600, 130, 290);
  const Parts all{true, true, true, true, true, Activation::gelu_tanh};
  const std::vector<T> whole = run_problem<Gemm>(problem, all);
  for (const int threads : {1, 2, 3, 8}) {
    for (const std::int64_t chunk : {1, 3, 17, 100, 256, 300, 512, 0}) {
      if (chunk == 1 && threads > 2) continue;  // 600 operations each: two thread counts say it all
      CAPTURE(threads, chunk);
      CHECK(same_bits(run_problem<Gemm>(problem, all, threads, chunk), whole));
    }
  }
}

/// Rows moved to other places, among other neighbours, some of them NaN, come out with the same bits.
template <class Gemm, class T>
void rows_depend_on_themselves_alone() {
  const std::int64_t tokens = 300;
  const LinearProblem<T> problem(tokens, 260, 70);
  const std::vector<T> expected = run_problem<Gemm>(problem);
  LinearProblem<T> shuffled = problem;
  std::vector<std::int64_t> source;
  for (std::int64_t n = 0; n < tokens; ++n) {
    source.push_back(n % 5 == 4 ? -1 : (n * 7 + 11) % tokens);
    for (std::int64_t k = 0; k < problem.inputs; ++k) {
      shuffled.x[static_cast<std::size_t>(n * problem.inputs + k)] =
          source.back() < 0 ? T(std::nanf(""))
                            : problem.x[static_cast<std::size_t>(source.back() * problem.inputs + k)];
    }
  }
  const std::vector<T> y = run_problem<Gemm>(shuffled);
  std::int64_t different = 0;
  for (std::int64_t n = 0; n < tokens; ++n) {
    if (source[static_cast<std::size_t>(n)] < 0) continue;
    different +=
        std::memcmp(&y[static_cast<std::size_t>(n * 70)],
                    &expected[static_cast<std::size_t>(source[static_cast<std::size_t>(n)] * 70)], 70 * sizeof(T)) != 0;
  }
  CHECK(different == 0);
}

/// A slice of the outputs, next to outputs whose weights are NaN, has the bits of the whole.
template <class Gemm, class T>
void outputs_depend_on_their_weights_alone() {
  LinearProblem<T> problem(20, 100, 600);
  const std::vector<T> expected = run_problem<Gemm>(problem);
  for (std::int64_t n = 0; n < 600; ++n) {
    if (n % 3 == 0) problem.w[static_cast<std::size_t>(n * 100 + 50)] = T(std::nanf(""));
  }
  const std::vector<T> y = run_problem<Gemm>(problem);
  std::int64_t different = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (i % 600 % 3 != 0) different += std::memcmp(&y[i], &expected[i], sizeof(T)) != 0;
  }
  CHECK(different == 0);

  std::vector<T> part(20 * 37);
  const LinearTerm<T> term{problem.x_view(), problem.weight().row_slice(101, 37)};
  run_linear<Gemm, T, T>(std::span<const LinearTerm<T>>(&term, 1), {}, TensorView<T, 2>(part.data(), {20, 37}));
  different = 0;
  for (std::int64_t i = 0; i < 20 * 37; ++i) {
    const std::int64_t column = 101 + i % 37;
    if (column % 3 == 0) continue;
    different += std::memcmp(&part[static_cast<std::size_t>(i)],
                             &expected[static_cast<std::size_t>(i / 37 * 600 + column)], sizeof(T)) != 0;
  }
  CHECK(different == 0);
}

/// Gaps between the rows of any operand change no bit and are not written to.
template <class Gemm, class T>
void strides_keep_the_bits() {
  const LinearProblem<T> problem(290, 70, 90);
  const std::vector<T> expected = run_problem<Gemm>(problem, {.residual = true});
  const auto spread = [](const std::vector<T>& dense, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
    std::vector<T> wide(static_cast<std::size_t>(rows * stride), T(std::nanf("")));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      wide[static_cast<std::size_t>(i / columns * stride + i % columns)] = dense[static_cast<std::size_t>(i)];
    }
    return wide;
  };
  const std::vector<T> x = spread(problem.x, 290, 70, 75);
  const std::vector<T> w = spread(problem.w, 90, 70, 101);
  const std::vector<T> residual = spread(problem.residual, 290, 90, 93);
  std::vector<T> y(290 * 100, T(5.0F));
  const LinearTerm<T> term{TensorView<const T, 2>(x.data(), {290, 70}, {75, 1}),
                           TensorView<const T, 2>(w.data(), {90, 70}, {101, 1})};
  LinearEpilogue<T> epilogue;
  epilogue.residual = {residual.data(), {290, 90}, {93, 1}};
  run_linear<Gemm, T, T>(std::span<const LinearTerm<T>>(&term, 1), epilogue,
                         TensorView<T, 2>(y.data(), {290, 90}, {100, 1}), 2);
  std::vector<T> gathered;
  bool gaps_untouched = true;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (i % 100 < 90) {
      gathered.push_back(y[i]);
    } else {
      gaps_untouched = gaps_untouched && static_cast<float>(y[i]) == 5.0F;
    }
  }
  CHECK(same_bits(gathered, expected));
  CHECK(gaps_untouched);
}

/// y may be the residual, and a float y the addend.
template <class Gemm, class T>
void works_in_place() {
  LinearProblem<T> problem(280, 33, 65);
  const std::vector<T> expected = run_problem<Gemm>(problem, {.gate = true, .residual = true});
  const LinearTerm<T> term{problem.x_view(), problem.weight()};
  const LinearEpilogue<T> epilogue = problem.epilogue({.gate = true, .residual = true});
  run_linear<Gemm, T, T>(std::span<const LinearTerm<T>>(&term, 1), epilogue,
                         TensorView<T, 2>(problem.residual.data(), {280, 65}), 2);
  CHECK(same_bits(problem.residual, expected));

  LinearProblem<T, T, float> wide(280, 33, 65);
  const std::vector<float> sum = run_problem<Gemm>(wide, {.addend = true});
  const LinearTerm<T> wide_term{wide.x_view(), wide.weight()};
  run_linear<Gemm, T, float>(std::span<const LinearTerm<T>>(&wide_term, 1), wide.epilogue({.addend = true}),
                             TensorView<float, 2>(wide.addend.data(), {280, 65}), 2);
  CHECK(same_bits(wide.addend, sum));
}

/// Weights of another type give the bits of weights converted beforehand, for any threads and chunks.
template <class Gemm, class T, class W>
void other_weight_types_expand_exactly() {
  const LinearProblem<T, W> problem(4500, 20, 70);  // more rows than one expansion serves
  LinearProblem<T> converted(4500, 20, 70);
  for (std::size_t i = 0; i < problem.w.size(); ++i) {
    converted.w[i] = static_cast<T>(static_cast<float>(problem.w[i]));
  }
  const float scale = 0.375F;
  const std::vector<T> expected = run_problem<Gemm>(converted, {.bias = true}, 1, 0, &scale);
  CHECK(same_bits(run_problem<Gemm>(problem, {.bias = true}, 1, 0, &scale), expected));
  CHECK(same_bits(run_problem<Gemm>(problem, {.bias = true}, 3, 0, &scale), expected));
  CHECK(same_bits(run_problem<Gemm>(problem, {.bias = true}, 2, 256, &scale), expected));
  CHECK(relative_error(expected, converted.expected({.bias = true}, 0.375)) < linear_tolerance<T>(20));
}

/// Weights at an address that no T may have are copied.
template <class Gemm, class T>
void misaligned_weights_keep_the_bits() {
  const LinearProblem<T> problem(30, 50, 40);
  const std::vector<T> expected = run_problem<Gemm>(problem);
  std::vector<std::byte> bytes(problem.w.size() * sizeof(T) + 1);
  std::memcpy(bytes.data() + 1, problem.w.data(), problem.w.size() * sizeof(T));
  LinearTerm<T> term{problem.x_view(), problem.weight()};
  term.weight.data = bytes.data() + 1;
  std::vector<T> y(30 * 40);
  run_linear<Gemm, T, T>(std::span<const LinearTerm<T>>(&term, 1), {}, TensorView<T, 2>(y.data(), {30, 40}));
  CHECK(same_bits(y, expected));
}

/// Terms of different widths and weight types add up, in float, with their strengths and scales.
template <class Gemm, class T>
void terms_add_up(std::size_t count) {
  const LinearProblem<T> base(260, 64, 100);
  std::vector<LinearTerm<T>> terms{{base.x_view(), base.weight()}};
  std::vector<double> sums = reference_product(as_doubles(base.x), as_doubles(base.w), 260, 100, 64);
  const float scale = 0.5F;
  std::vector<LinearProblem<T, float8_e4m3>> others;
  others.reserve(count);
  for (std::size_t i = 1; i < count; ++i) {
    others.emplace_back(260, static_cast<std::int64_t>(4 + 9 * i), 100);
    LinearProblem<T, float8_e4m3>& other = others.back();
    terms.push_back({other.x_view(), other.weight(), -0.25F});
    terms.back().weight.scale = &scale;
    const std::vector<double> product =
        reference_product(as_doubles(other.x), as_doubles(other.w), 260, 100, other.inputs);
    for (std::size_t n = 0; n < sums.size(); ++n) sums[n] -= 0.125 * product[n];
  }
  const Parts parts{.bias = true, .residual = true, .activation = Activation::silu};
  std::vector<T> one(260 * 100);
  std::vector<T> three(260 * 100);
  run_linear<Gemm, T, T>(terms, base.epilogue(parts), TensorView<T, 2>(one.data(), {260, 100}), 1);
  run_linear<Gemm, T, T>(terms, base.epilogue(parts), TensorView<T, 2>(three.data(), {260, 100}), 3, 256);
  CHECK(relative_error(one, base.finish(sums, parts)) < linear_tolerance<T>(500));
  CHECK(same_bits(one, three));
}

/// A term whose copied rows fill more memory than another term needs for rows and expanded weights together.
template <class Gemm>
void terms_of_very_different_widths_add_up() {
  constexpr std::int64_t tokens = 3;
  constexpr std::int64_t outputs = 2;
  const LinearProblem<float> wide(tokens, 600'000, outputs);
  const LinearProblem<float, float8_e4m3> narrow(tokens, 8192, outputs);
  std::vector<float> gaps(static_cast<std::size_t>(tokens * (wide.inputs + 1)));
  for (std::int64_t n = 0; n < tokens; ++n) {
    std::copy_n(wide.x.begin() + n * wide.inputs, wide.inputs, gaps.begin() + n * (wide.inputs + 1));
  }
  const TensorView<const float, 2> x(gaps.data(), {tokens, wide.inputs}, {wide.inputs + 1, 1});
  std::vector<double> sums = reference_product(as_doubles(wide.x), as_doubles(wide.w), tokens, outputs, wide.inputs);
  const std::vector<double> other =
      reference_product(as_doubles(narrow.x), as_doubles(narrow.w), tokens, outputs, narrow.inputs);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += other[i];
  const std::vector<LinearTerm<float>> terms{{x, wide.weight()}, {narrow.x_view(), narrow.weight()}};
  std::vector<float> y(static_cast<std::size_t>(tokens * outputs));
  run_linear<Gemm, float, float>(terms, {}, TensorView<float, 2>(y.data(), {tokens, outputs}));
  CHECK(relative_error(y, sums) < linear_tolerance<float>(wide.inputs));
}

}  // namespace ltxmem::test
