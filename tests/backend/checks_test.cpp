// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/checks.hpp"

#include <string>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

namespace {

/// What a backend says when it refuses a program; "" when it accepts.
template <class Backend, class Program>
std::string refusal(Backend backend, const Program& program) {
  Arena arena = Arena::make_virtual();
  try {
    program(backend, arena);
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "";
}

/// What both backends say about a program that must not get as far as an element: there is no memory behind it.
template <class Program>
std::string refusal_of_both(const Program& program) {
  const std::string said = refusal(CpuBackend<>(), program);
  CHECK(refusal(DryRunBackend<CpuBackend<>::Target>(), program) == said);
  return said;
}

/// Whether a dry run accepts a program; the counterpart that shows a refusal to be about the wrong part alone.
template <class Program>
bool dry_run_accepts(const Program& program) {
  return refusal(DryRunBackend<CpuBackend<>::Target>(), program).empty();
}

template <class T = float>
TensorView<T, 2> matrix(std::int64_t rows, std::int64_t columns) {
  return {nullptr, {rows, columns}};
}

WeightMatrix weight(std::int64_t rows, std::int64_t columns) {
  return matrix<const float>(rows, columns);
}
WeightVector vector(std::int64_t size, DType dtype = DType::f32) {
  WeightVector all = TensorView<const float, 1>(nullptr, {size});
  all.dtype = dtype;
  return all;
}

}  // namespace

TEST_CASE("both backends refuse the same linear operations in the same words") {
  const auto linear = [](std::int64_t rows, std::int64_t inputs, LinearEpilogue<float> epilogue) {
    return [=](auto& backend, Arena& arena) {
      const LinearTerm<float> term{matrix<const float>(rows, inputs), weight(8, 6)};
      backend.template linear<float, float>(std::span(&term, 1), epilogue, matrix(4, 8), arena);
    };
  };
  CHECK(dry_run_accepts(linear(4, 6, {.bias = vector(8)})));
  CHECK(refusal_of_both(linear(3, 6, {})) == "linear: rows of x 3, rows of y 4");
  CHECK(refusal_of_both(linear(4, 5, {})) == "linear: columns of x 5, inputs of the weight 6");
  CHECK(refusal_of_both(linear(4, 6, {.bias = vector(7)})) == "linear: bias 7, columns of y 8");
  CHECK(refusal_of_both(linear(4, 6, {.bias = vector(8, DType::i32)})) ==
        "expected a floating type of at most 32 bits, found I32");
  CHECK(refusal_of_both(linear(4, 6, {.residual = matrix<const float>(5, 8)})) == "linear: residual 5 x 8, y 4 x 8");
  CHECK(refusal_of_both(linear(4, 6, {.gate = {.rows = matrix<const float>(2, 7)}})) ==
        "linear: columns of the gate 7, columns of y 8");
}

TEST_CASE("both backends refuse a linear operation without a term") {
  CHECK(refusal_of_both([](auto& backend, Arena& arena) {
          backend.template linear<float, float>({}, {}, matrix(4, 8), arena);
        }) == "linear: no term");
}

TEST_CASE("a dry run reads no row numbers") {
  CHECK(dry_run_accepts([](auto& backend, Arena& arena) {
    const LinearTerm<float> term{matrix<const float>(4, 6), weight(8, 6)};
    const TokenRows rows{matrix<const float>(2, 8), TensorView<const std::int32_t, 1>(nullptr, {4})};
    backend.template linear<float, float>(std::span(&term, 1), {.gate = rows}, matrix(4, 8), arena);
    backend.template norm<float>(matrix<const float>(4, 8), {.scale = rows, .shift = rows}, matrix(4, 8));
  }));
}

TEST_CASE("both backends refuse the same norms in the same words") {
  const auto norm = [](NormArguments<float> arguments, std::int64_t rows) {
    return [=](auto& backend, Arena&) {
      backend.template norm<float>(matrix<const float>(4, 6), arguments, matrix(rows, 6));
    };
  };
  CHECK(dry_run_accepts(norm({.weight = vector(6)}, 4)));
  CHECK(refusal_of_both(norm({}, 3)) == "norm: x 4 x 6, y 3 x 6");
  CHECK(refusal_of_both(norm({.weight = vector(5)}, 4)) == "norm: weight of 5 elements for rows of 6");
  CHECK(refusal_of_both(norm({.weight = vector(6, DType::i64)}, 4)) ==
        "expected a floating type of at most 32 bits, found I64");
  CHECK(refusal_of_both(norm({.scale = {.rows = matrix<const float>(1, 7)}}, 4)) ==
        "norm: scale has 7 columns, the rows have 6");
  CHECK(refusal_of_both(norm({.residual = matrix<const float>(4, 5)}, 4)) == "norm: x 4 x 6, residual 4 x 5");
}

TEST_CASE("both backends refuse the same head norms in the same words") {
  const auto head_norm = [](HeadNormArguments arguments) {
    return [=](auto& backend, Arena&) { backend.template head_norm<float>(matrix(4, 12), arguments); };
  };
  CHECK(dry_run_accepts(head_norm({.heads = 3})));
  CHECK(refusal_of_both(head_norm({.heads = 5})) == "head norm: rows of 12 for 5 heads");
  CHECK(refusal_of_both(head_norm({.kind = NormKind::layer})) == "head norm: kind is layer, expected rms or none");
  const TensorView<const float, 1> three(nullptr, {3});
  CHECK(refusal_of_both(head_norm({.heads = 3, .row_factors = three})) ==
        "head norm: 3 row factors for 4 rows, expected one each, kind rms and no mean per head");
  CHECK(refusal_of_both(head_norm({.heads = 3, .weight = vector(4)})) ==
        "head norm: weight of 4 elements, expected 12");
  CHECK(refusal_of_both(head_norm({.rotary = {.cosine = matrix<const float>(5, 6),
                                              .sine = matrix<const float>(5, 6),
                                              .coordinate = {nullptr, {3, 1}}}})) ==
        "head norm: coordinates of 3 tokens and 1 axes for 4 tokens");
}

TEST_CASE("both backends refuse the same attention tiles in the same words") {
  const auto append = [](AttentionTile<float> changed) {
    return [=](auto& backend, Arena& arena) {
      AttentionTile<float> tile = changed;
      tile.q = matrix<const float>(5, 8);
      tile.v = matrix<const float>(7, 4);
      const SoftmaxStateView state{matrix(5, 8), matrix(5, 2), matrix(5, 2)};
      backend.template attention_append<float>(tile, state, arena);
    };
  };
  const TensorView<const float, 2> keys = matrix<const float>(7, 4);
  CHECK(dry_run_accepts(append({.k = keys, .heads = 2, .kv_heads = 1})));
  CHECK(refusal_of_both(append({.k = keys, .heads = 0, .kv_heads = 1})) ==
        "attention: heads 0 not a multiple of kv_heads 1");
  CHECK(refusal_of_both(append({.k = keys, .heads = 2, .kv_heads = 2})) == "attention: key width 4, expected 8");
  CHECK(refusal_of_both(append({.k = matrix<const float>(6, 4), .heads = 2, .kv_heads = 1})) ==
        "attention: keys 6 x 4, values 7 x 4");
  CHECK(refusal_of_both(append({.k = keys, .heads = 2, .kv_heads = 1, .key_begin = 100})) ==
        "attention: key_begin 100, expected a multiple of 256");
  CHECK(refusal_of_both(append({.k = keys, .heads = 4, .kv_heads = 2})) ==
        "attention: maximum and sum of 5 x 2, expected 5 x 4");
  CHECK(refusal_of_both(append({.k = keys, .heads = 2, .kv_heads = 1, .mask = matrix<const float>(5, 6)})) ==
        "attention: mask 5 x 6, expected 5 x 7");
}

TEST_CASE("both backends refuse the same softmax states in the same words") {
  const SoftmaxStateView good{matrix(5, 8), matrix(5, 2), matrix(5, 2)};
  const auto reset = [](SoftmaxStateView state) {
    return [=](auto& backend, Arena&) { backend.attention_reset(state); };
  };
  CHECK(dry_run_accepts(reset(good)));
  CHECK(refusal_of_both(reset({matrix(5, 8), matrix(5, 2), matrix(4, 2)})) == "attention: maximum 5 x 2, sum 4 x 2");
  CHECK(refusal_of_both(reset({matrix(5, 7), matrix(5, 2), matrix(5, 2)})) ==
        "attention: accumulator 5 x 7 for 5 rows and 2 heads");
  CHECK(refusal_of_both([=](auto& backend, Arena&) {
          backend.attention_merge({matrix(5, 8), matrix(5, 4), matrix(5, 4)}, good);
        }) == "attention: merge of states of 5 and 5 rows, 4 and 2 heads");

  const auto finalize = [=](std::int64_t gates, std::int64_t columns, std::int64_t lse) {
    return [=](auto& backend, Arena&) {
      backend.template attention_finalize<float>(good, matrix<const float>(5, gates), matrix(5, columns),
                                                 matrix(5, lse));
    };
  };
  CHECK(dry_run_accepts(finalize(2, 8, 2)));
  CHECK(refusal_of_both(finalize(3, 8, 2)) == "attention: gate 5 x 3, state 5 x 2");
  CHECK(refusal_of_both(finalize(2, 9, 2)) == "attention: out 5 x 9, accumulator 5 x 8");
  CHECK(refusal_of_both(finalize(2, 8, 1)) == "attention: lse 5 x 1, state 5 x 2");
}

TEST_CASE("both backends refuse the same convolutions in the same words") {
  const auto convolve = [](ConvolutionArguments<float> arguments, std::int64_t channels = 5) {
    return [=](auto& backend, Arena& arena) {
      ConvolutionArguments<float> all = arguments;
      if (all.weight.rows == 0) all.weight = weight(5, 27 * 3);
      all.geometry.kernel = {3, 3, 3};
      backend.template convolve<float>(TensorView<const float, 4>(nullptr, {4, 6, 7, 3}), all,
                                       TensorView<float, 4>(nullptr, {2, 4, 5, channels}), arena);
    };
  };
  CHECK(dry_run_accepts(convolve({})));
  CHECK(refusal_of_both(convolve({}, 6)) == "convolution: weight of 5 rows for 6 output channels");
  CHECK(refusal_of_both(convolve({.weight = weight(5, 80)})) ==
        "convolution: weight of 80 columns for 3 channels and 27 taps");
  CHECK(refusal_of_both(convolve({.bias = vector(4)})) == "convolution: bias of 4 elements for 5 output channels");
  CHECK(refusal_of_both(convolve({.geometry = {.pad_before = {1, 0, 0}}})) ==
        "convolution: y 2 x 4 x 5, expected 3 x 4 x 5");
  CHECK(refusal_of_both(convolve({.geometry = {.stride = {0, 1, 1}}})) ==
        "convolution: kernel 3, stride 0, dilation 1, padding 0 and 0 on axis 0");
  CHECK(refusal_of_both(convolve({.residual = {nullptr, {2, 4, 4, 5}}})) ==
        "convolution: extents of residual and y differ");
}

TEST_CASE("both backends refuse the same transposed convolutions in the same words") {
  const auto transposed = [](std::int64_t rows, std::int64_t kernel, std::int64_t biases) {
    return [=](auto& backend, Arena& arena) {
      const TransposedConvolutionArguments arguments{
          .weight = weight(4, 24), .bias = vector(biases), .kernel = kernel, .stride = 2, .padding = 3};
      backend.template convolve_transposed<float>(matrix<const float>(10, 4), arguments, matrix(rows, 3), arena);
    };
  };
  CHECK(dry_run_accepts(transposed(20, 8, 3)));
  CHECK(refusal_of_both(transposed(19, 8, 3)) == "transposed convolution: y of 19 rows, expected 20 for 10");
  CHECK(refusal_of_both(transposed(20, 0, 3)) == "transposed convolution: kernel 0, stride 2, padding 3");
  CHECK(refusal_of_both(transposed(20, 8, 2)) == "transposed convolution: bias of 2 elements for 3 output channels");
}

TEST_CASE("both backends refuse the same copies in the same words") {
  CHECK(refusal_of_both([](auto& backend, Arena&) {
          backend.template copy<float, float>(matrix<const float>(4, 6), matrix(4, 5));
        }) == "copy: from 4 x 6 to 4 x 5");
  CHECK(refusal_of_both([](auto& backend, Arena&) {
          backend.template copy_async<float>(CopyQueue::in, matrix<const float>(4, 6), matrix(3, 6));
        }) == "copy: from 4 x 6 to 3 x 6");
}

TEST_CASE("the processor refuses a norm whose tokens ask for rows that are not there") {
  const std::vector<float> x(8);
  std::vector<float> y(8);
  const std::vector<float> scale(4);
  const std::vector<std::int32_t> index{1, -1};
  CpuBackend<> backend;
  const NormArguments<float> arguments{.scale = {{scale.data(), {1, 4}}, {index.data(), {2}}}};
  CHECK_THROWS_WITH(backend.norm<float>(TensorView<const float, 2>(x.data(), {2, 4}), arguments,
                                        TensorView<float, 2>(y.data(), {2, 4})),
                    "norm: token 0 asks for row 1 of a scale with 1");
}
