// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <stop_token>
#include <string>

#include "backend/cpu/linear_suite.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"

using namespace ltxmem;
using namespace ltxmem::test;
using Catch::Matchers::Contains;

TEMPLATE_TEST_CASE("linear: products match the reference", "", float, bfloat16, half) {
  products_match_the_reference<PortableGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear: every part of the epilogue matches the reference", "", float, bfloat16, half) {
  epilogues_match_the_reference<PortableGemm, TestType, TestType>();
}
TEST_CASE("linear: a wide output keeps the float sums of narrow inputs") {
  epilogues_match_the_reference<PortableGemm, bfloat16, float>();
}
TEMPLATE_TEST_CASE("linear: chunks and threads change no bit", "", float, bfloat16, half) {
  chunks_and_threads_keep_the_bits<PortableGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear: a row's bits depend on no other row", "", float, bfloat16, half) {
  rows_depend_on_themselves_alone<PortableGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear: an output's bits depend on no other output's weights", "", float, bfloat16) {
  outputs_depend_on_their_weights_alone<PortableGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear: gaps between rows change no bit and stay untouched", "", float, bfloat16) {
  strides_keep_the_bits<PortableGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear: y may be the residual or the addend", "", float, bfloat16) {
  works_in_place<PortableGemm, TestType>();
}
TEST_CASE("linear: bfloat16 weights expand exactly to float") {
  other_weight_types_expand_exactly<PortableGemm, float, bfloat16>();
}
TEST_CASE("linear: half weights expand exactly to float") {
  other_weight_types_expand_exactly<PortableGemm, float, half>();
}
TEST_CASE("linear: float8 weights expand exactly to float") {
  other_weight_types_expand_exactly<PortableGemm, float, float8_e4m3>();
}
TEST_CASE("linear: float8 weights expand exactly to bfloat16") {
  other_weight_types_expand_exactly<PortableGemm, bfloat16, float8_e4m3>();
}
TEST_CASE("linear: float weights are rounded once to bfloat16") {
  other_weight_types_expand_exactly<PortableGemm, bfloat16, float>();
}
TEMPLATE_TEST_CASE("linear: weights at odd addresses change no bit", "", float, bfloat16) {
  misaligned_weights_keep_the_bits<PortableGemm, TestType>();
}
TEST_CASE("linear: two terms add up in float") {
  terms_add_up<PortableGemm, float>(2);
}
TEST_CASE("linear: more terms than panels fit add up all the same") {
  terms_add_up<PortableGemm, bfloat16>(11);
}
TEST_CASE("linear: terms of very different widths add up") {
  terms_of_very_different_widths_add_up<PortableGemm>();
}

TEST_CASE("linear: workspace is the formula, the dry run's peak and the counted peak") {
  const auto weight_type = GENERATE(DType::f32, DType::bf16, DType::f8_e4m3);
  const std::int64_t tokens = GENERATE(1, 200, 700);
  const int threads = GENERATE(1, 3);
  CAPTURE(dtype_name(weight_type), tokens, threads);
  const std::int64_t outputs = 150;
  const std::int64_t inputs = 90;
  const std::vector<float> x(static_cast<std::size_t>(tokens * inputs));
  const std::vector<float> weights(static_cast<std::size_t>(outputs * inputs));
  std::vector<float> y(static_cast<std::size_t>(tokens * outputs));
  LinearTerm<float> term{TensorView<const float, 2>(x.data(), {tokens, inputs}),
                         TensorView<const float, 2>(weights.data(), {outputs, inputs})};
  term.weight.dtype = weight_type;
  const std::span<const LinearTerm<float>> terms(&term, 1);
  const TensorView<float, 2> out(y.data(), {tokens, outputs});

  CpuBackend<> backend({.threads = threads});
  const std::size_t formula = backend.linear_workspace_bytes<float>(tokens, term.weight);
  DryRunBackend dry(backend.target());
  Arena imagined = Arena::make_virtual();
  dry.linear(terms, LinearEpilogue<float>{}, out, imagined);
  HostResource host;
  CountingResource counting(host);
  std::size_t arena_peak = 0;
  {
    Arena arena(counting, formula);
    backend.linear(terms, LinearEpilogue<float>{}, out, arena);
    arena_peak = arena.peak_bytes();
  }
  CHECK(imagined.peak_bytes() == formula);
  CHECK(arena_peak == formula);
  CHECK(counting.peak_bytes() == formula);
  CHECK(formula % buffer_alignment == 0);
}

TEST_CASE("linear: one byte less than the formula is refused before y is written") {
  const LinearProblem<float> problem(10, 10, 10);
  std::vector<float> y(100, 3.0F);
  CpuBackend<> backend;
  HostResource host;
  Arena arena(host, backend.linear_workspace_bytes<float>(10, problem.weight()) - 1);
  const LinearTerm<float> term{problem.x_view(), problem.weight()};
  CHECK_THROWS_AS(backend.linear(std::span<const LinearTerm<float>>(&term, 1), LinearEpilogue<float>{},
                                 TensorView<float, 2>(y.data(), {10, 10}), arena),
                  OutOfMemory);
  CHECK(y == std::vector<float>(100, 3.0F));
}

TEST_CASE("linear: no tokens and no outputs need nothing and do nothing") {
  CpuBackend<> backend;
  Arena none(nullptr, 0);
  const std::vector<float> weights(12, 1.0F);
  const std::vector<float> x(8, 1.0F);
  for (const auto& [tokens, outputs] : {std::pair<std::int64_t, std::int64_t>{0, 3}, {2, 0}, {0, 0}}) {
    const WeightMatrix weight = TensorView<const float, 2>(weights.data(), {outputs, 4});
    CHECK(backend.linear_workspace_bytes<float>(tokens, weight) == 0);
    const LinearTerm<float> term{TensorView<const float, 2>(x.data(), {tokens, 4}), weight};
    backend.linear(std::span<const LinearTerm<float>>(&term, 1), LinearEpilogue<float>{},
                   TensorView<float, 2>(nullptr, {tokens, outputs}), none);
  }
}

namespace {

/// The message of the ShapeError that linear throws for these arguments; "" when it throws none.
std::string refusal(const LinearTerm<float>& term, const LinearEpilogue<float>& epilogue, TensorView<float, 2> y) {
  CpuBackend<> backend;
  Arena none(nullptr, 0);
  try {
    backend.linear(std::span<const LinearTerm<float>>(&term, 1), epilogue, y, none);
  } catch (const ShapeError& error) {
    return error.what();
  } catch (const OutOfMemory&) {
    return "";  // the shapes were accepted
  }
  return "";
}

}  // namespace

TEST_CASE("linear: shapes that do not fit are refused with both numbers") {
  LinearProblem<float> problem(4, 6, 8);
  std::vector<float> data(200);
  const LinearTerm<float> good{problem.x_view(), problem.weight()};
  const TensorView<float, 2> y(data.data(), {4, 8});
  CHECK(refusal(good, {}, y).empty());

  LinearTerm<float> term = good;
  SECTION("rows of x") {
    term.x = term.x.rows(0, 3);
    CHECK(refusal(term, {}, y) == "linear: rows of x 3, rows of y 4");
  }
  SECTION("inputs") {
    term.x = term.x.columns(0, 5);
    CHECK(refusal(term, {}, y) == "linear: columns of x 5, inputs of the weight 6");
  }
  SECTION("outputs") {
    term.weight = term.weight.row_slice(0, 7);
    CHECK(refusal(term, {}, y) == "linear: outputs of the weight 7, columns of y 8");
  }
  SECTION("columns of x apart") {
    term.x = TensorView<const float, 2>(data.data(), {4, 6}, {12, 2});
    CHECK(refusal(term, {}, y) == "linear: columns of x are not contiguous");
  }
  SECTION("columns of y apart") {
    CHECK(refusal(term, {}, TensorView<float, 2>(data.data(), {4, 8}, {16, 2})) ==
          "linear: columns of y are not contiguous");
  }
  SECTION("an integer weight") {
    term.weight.dtype = DType::i32;
    CHECK_THAT(refusal(term, {}, y), Contains("I32"));
  }
  LinearEpilogue<float> epilogue;
  SECTION("bias") {
    epilogue.bias = TensorView<const float, 1>(data.data(), {7});
    CHECK(refusal(term, epilogue, y) == "linear: bias 7, columns of y 8");
  }
  SECTION("addend") {
    epilogue.addend = {data.data(), {4, 7}};
    CHECK(refusal(term, epilogue, y) == "linear: addend 4 x 7, y 4 x 8");
  }
  SECTION("residual") {
    epilogue.residual = {data.data(), {5, 8}};
    CHECK(refusal(term, epilogue, y) == "linear: residual 5 x 8, y 4 x 8");
  }
  SECTION("columns of the gate") {
    epilogue.gate.rows = {data.data(), {2, 7}};
    CHECK(refusal(term, epilogue, y) == "linear: columns of the gate 7, columns of y 8");
  }
  const std::vector<std::int32_t> index{0, 1, 2, 0, 1};
  SECTION("row numbers of the gate") {
    epilogue.gate.rows = {data.data(), {3, 8}};
    epilogue.gate.index = {index.data(), {5}};
    CHECK(refusal(term, epilogue, y) == "linear: row numbers of the gate 5, rows of y 4");
  }
  SECTION("a row that the gate lacks") {
    epilogue.gate.rows = {data.data(), {2, 8}};
    epilogue.gate.index = {index.data(), {4}};
    CHECK(refusal(term, epilogue, y) == "linear: token 2 asks for row 2 of a gate with 2");
  }
}

TEST_CASE("linear: no term at all is refused") {
  CpuBackend<> backend;
  Arena none(nullptr, 0);
  CHECK_THROWS_AS(
      backend.linear(std::span<const LinearTerm<float>>(), LinearEpilogue<float>{}, TensorView<float, 2>{}, none),
      ShapeError);
}

TEST_CASE("linear: a fired stop token abandons the work") {
  std::stop_source source;
  source.request_stop();
  CpuBackend<> backend({.threads = 2, .stop = source.get_token()});
  const LinearProblem<float> problem(10, 10, 10);
  std::vector<float> y(100);
  HostResource host;
  Arena arena(host, backend.linear_workspace_bytes<float>(10, problem.weight()));
  const LinearTerm<float> term{problem.x_view(), problem.weight()};
  CHECK_THROWS_AS(backend.linear(std::span<const LinearTerm<float>>(&term, 1), LinearEpilogue<float>{},
                                 TensorView<float, 2>(y.data(), {10, 10}), arena),
                  Cancelled);
}
