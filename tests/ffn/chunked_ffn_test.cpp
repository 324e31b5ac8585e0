// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/ffn/chunked_ffn.hpp"

#include "ffn/chunked_ffn_suite.hpp"
#include "ltxmem/weights/any_linear.hpp"
#include "ltxmem/weights/lora_linear.hpp"
#include "ltxmem/weights/quantized_linear.hpp"

#if defined(LTXMEM_TEST_ONEDNN)
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#endif

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;

template <class T>
ChunkedFFN<T, Cpu> network(const FfnProblem<T>& problem, Activation activation = Activation::gelu_tanh) {
  return {problem.up_layer(), problem.down_layer(), activation};
}

}  // namespace

TEMPLATE_TEST_CASE("chunked ffn: matches the reference whatever the chunks", "", float, bfloat16, half) {
  for (const std::int64_t tokens : {1, 2, 255, 256, 257, 600}) {
    const FfnProblem<TestType> problem(tokens, 24, 50, 17);
    const std::vector<double> expected = problem.expected(Activation::gelu_tanh, false);
    for (const ChunkedFfnOptions& options :
         {ChunkedFfnOptions{}, ChunkedFfnOptions{.token_chunk = 1}, ChunkedFfnOptions{.hidden_chunk = 7},
          ChunkedFfnOptions{.token_chunk = 300, .hidden_chunk = 25}, ChunkedFfnOptions{9999, 9999}}) {
      CAPTURE(tokens, options.token_chunk, options.hidden_chunk);
      CHECK(relative_error(run_network<Cpu>(network(problem), problem, options), expected) <
            4 * rounding<TestType> + 2e-6);
    }
  }
}

TEST_CASE("chunked ffn: other activations") {
  const FfnProblem<float> problem(20, 24, 50, 17);
  for (const Activation activation : {Activation::none, Activation::silu}) {
    CHECK(relative_error(run_network<Cpu>(network(problem, activation), problem, {}),
                         problem.expected(activation, false)) < 2e-6);
  }
}

TEMPLATE_TEST_CASE("chunked ffn: token chunks and threads change no bit", "", float, bfloat16) {
  const FfnProblem<TestType> problem(900, 40, 70, 33);
  const auto ffn = network(problem);
  const std::vector<TestType> whole = run_network<Cpu>(ffn, problem, {});
  const std::vector<TestType> halves = run_network<Cpu>(ffn, problem, {.hidden_chunk = 35});
  for (const std::int64_t chunk : {1, 100, 256, 257, 512, 899, 900, 901, 100000}) {
    for (const int threads : {1, 3}) {
      CAPTURE(chunk, threads);
      CHECK(same_bits(run_network<Cpu>(ffn, problem, {.token_chunk = chunk}, threads), whole));
      CHECK(same_bits(run_network<Cpu>(ffn, problem, {.token_chunk = chunk, .hidden_chunk = 35}, threads), halves));
    }
  }
}

TEST_CASE("chunked ffn: hidden chunks agree to float rounding, in bfloat16 too") {
  const FfnProblem<bfloat16> problem(300, 40, 96, 33);
  const auto ffn = network(problem);
  const std::vector<bfloat16> whole = run_network<Cpu>(ffn, problem, {});
  for (const std::int64_t chunk : {1, 5, 32, 95}) {
    CAPTURE(chunk);
    CHECK(relative_error(run_network<Cpu>(ffn, problem, {.hidden_chunk = chunk}), as_doubles(whole)) <
          2 * rounding<bfloat16>);
  }
}

TEST_CASE("chunked ffn: y may be x and the residual at once") {
  FfnProblem<float> problem(700, 32, 64, 32);
  problem.residual = problem.x;
  const auto ffn = network(problem);
  const ChunkedFfnOptions options = GENERATE(ChunkedFfnOptions{}, ChunkedFfnOptions{.token_chunk = 256},
                                             ChunkedFfnOptions{.hidden_chunk = 10}, ChunkedFfnOptions{256, 30});
  const std::vector<float> apart = run_network<Cpu>(ffn, problem, options, 2);
  Cpu backend({.threads = 2});
  HostResource host;
  Arena arena(host, ffn.workspace_bytes(backend, problem.tokens, options));
  LinearEpilogue<float> epilogue = problem.epilogue();
  epilogue.residual = problem.x.view();
  ffn(backend, problem.x.view(), epilogue, problem.x.view(), arena, options);
  CHECK(same_bits(problem.x.values, apart));
}

TEST_CASE("chunked ffn: an addend of the caller is added once") {
  const FfnProblem<float> problem(30, 16, 20, 8);
  const RandomMatrix<float> addend(30, 8, 11);
  const auto ffn = network(problem);
  Cpu backend;
  std::vector<double> expected;
  for (const std::int64_t hidden_chunk : {0, 6}) {
    HostResource host;
    Arena arena(host, ffn.workspace_bytes(backend, 30, {.hidden_chunk = hidden_chunk}));
    std::vector<float> without(30 * 8);
    std::vector<float> with(30 * 8);
    LinearEpilogue<float> epilogue;
    ffn(backend, problem.x.view(), epilogue, {without.data(), {30, 8}}, arena, {.hidden_chunk = hidden_chunk});
    epilogue.addend = addend.view();
    ffn(backend, problem.x.view(), epilogue, {with.data(), {30, 8}}, arena, {.hidden_chunk = hidden_chunk});
    expected = as_doubles(without);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += as_double(addend.values[i]);
    CHECK(relative_error(with, expected) < 1e-6);
  }
}

TEST_CASE("chunked ffn: workspace is the formula and the dry run's peak") {
  const std::int64_t tokens = GENERATE(1, 300, 2000, 5000);
  const std::int64_t token_chunk = GENERATE(0, 1, 700);
  const std::int64_t hidden_chunk = GENERATE(0, 13, 64);
  const int threads = GENERATE(1, 4);
  CAPTURE(tokens, token_chunk, hidden_chunk, threads);
  const ChunkedFfnOptions options{token_chunk, hidden_chunk};
  const FfnProblem<bfloat16> weights(1, 40, 100, 30);
  const Cpu backend({.threads = threads});
  const std::size_t bytes = network(weights).workspace_bytes(backend, tokens, options);
  CHECK(dry_network_peak<bfloat16>(ChunkedFFN<bfloat16, Dry>(weights.up_layer(), weights.down_layer()), tokens, options,
                                   threads) == bytes);
}

TEST_CASE("chunked ffn: the buffers are what the description says") {
  const FfnProblem<bfloat16> weights(1, 64, 1000, 64);
  const auto ffn = network(weights);
  const Cpu backend;
  const auto layers = [&](std::int64_t rows) {
    return std::max(backend.linear_workspace_bytes<bfloat16>(rows, weights.up.weight()),
                    backend.linear_workspace_bytes<bfloat16>(rows, weights.down.weight()));
  };
  CHECK(ffn.workspace_bytes(backend, 5000) == aligned_bytes(5000 * 1000 * 2) + layers(5000));
  CHECK(ffn.workspace_bytes(backend, 5000, {.token_chunk = 500}) == 512 * 1000 * 2 + layers(512));
  CHECK(ffn.workspace_bytes(backend, 100, {.token_chunk = 500}) == aligned_bytes(100 * 1000 * 2) + layers(100));
  CHECK(ffn.workspace_bytes(backend, 0) == 0);
}

TEST_CASE("chunked ffn: effective options are whole quanta, and never more than there is") {
  const FfnProblem<float> weights(1, 8, 100, 8);
  const auto ffn = network(weights);
  const auto effective = [&](std::int64_t tokens, ChunkedFfnOptions options) {
    const ChunkedFfnOptions chosen = ffn.effective(tokens, options);
    return std::pair(chosen.token_chunk, chosen.hidden_chunk);
  };
  using Chunks = std::pair<std::int64_t, std::int64_t>;
  CHECK(effective(1000, {}) == Chunks{1000, 100});
  CHECK(effective(1000, {1, 1}) == Chunks{256, 1});
  CHECK(effective(1000, {257, 99}) == Chunks{512, 99});
  CHECK(effective(1000, {999, 100}) == Chunks{1000, 100});
  CHECK(effective(1000, {5000, 5000}) == Chunks{1000, 100});
  CHECK(effective(1, {1, 1}) == Chunks{1, 1});
}

TEST_CASE("chunked ffn: no token is no work and no workspace") {
  const FfnProblem<float> problem(0, 8, 16, 8);
  CHECK(run_network<Cpu>(network(problem), problem, {.token_chunk = 256}).empty());
}

TEST_CASE("chunked ffn: a dry run counts the flops of the formula, however it is chunked") {
  const FfnProblem<bfloat16> weights(1, 64, 256, 48);
  const ChunkedFFN<bfloat16, Dry> ffn(weights.up_layer(), weights.down_layer());
  for (const ChunkedFfnOptions& options :
       {ChunkedFfnOptions{}, ChunkedFfnOptions{512, 0}, ChunkedFfnOptions{256, 64}}) {
    Dry dry;
    Arena arena = Arena::make_virtual();
    ffn(dry, TensorView<const bfloat16, 2>(nullptr, {100000, 64}), {}, TensorView<bfloat16, 2>(nullptr, {100000, 48}),
        arena, options);
    CHECK(dry.record().totals().flops == 2LL * 100000 * 256 * (64 + 48));
  }
}

TEST_CASE("chunked ffn: any layers will do, mixed at run time") {
  const FfnProblem<bfloat16> problem(300, 40, 64, 24);
  const RandomMatrix<float8_e4m3> quantized_up(64, 40, 21);
  const RandomMatrix<bfloat16> a(4, 64, 22);
  const RandomMatrix<bfloat16> b(24, 4, 23);
  const float scale = 0.5F;
  const QuantizedLinear up(quantized_up.weight(&scale), bias_view(problem.up_bias));
  const LoraLinear<DenseLinear> down(problem.down_layer(), {{a.weight(), b.weight(), 0.5F}});
  using Any = AnyLinear<bfloat16, Cpu>;
  const ChunkedFFN<bfloat16, Cpu, QuantizedLinear, LoraLinear<DenseLinear>> exact(up, down);
  const ChunkedFFN<bfloat16, Cpu, Any> erased(up, down);
  for (const ChunkedFfnOptions& options :
       {ChunkedFfnOptions{}, ChunkedFfnOptions{256, 0}, ChunkedFfnOptions{256, 30}}) {
    const std::vector<bfloat16> y = run_network<Cpu>(exact, problem, options);
    CHECK(same_bits(run_network<Cpu>(erased, problem, options, 2), y));
  }
}

TEST_CASE("chunked ffn: what does not fit is refused") {
  const FfnProblem<float> problem(10, 8, 16, 6);
  using Network = ChunkedFFN<float, Cpu>;
  CHECK_THROWS_WITH(Network(problem.up_layer(), problem.down_layer().slice_inputs(0, 15)),
                    "chunked ffn: outputs of the first layer 16, inputs of the second 15");
  const Network ffn = network(problem);
  Cpu backend;
  Arena none(nullptr, 0);
  const std::vector<float> x(100);
  std::vector<float> y(100);
  const auto run = [&](std::int64_t rows, std::int64_t columns, std::int64_t y_rows, std::int64_t y_columns,
                       ChunkedFfnOptions options = {}) {
    ffn(backend, TensorView<const float, 2>(x.data(), {rows, columns}), {},
        TensorView<float, 2>(y.data(), {y_rows, y_columns}), none, options);
  };
  CHECK_THROWS_WITH(run(10, 8, 9, 6), "chunked ffn: rows of x 10, rows of y 9");
  CHECK_THROWS_WITH(run(10, 7, 10, 6), "chunked ffn: columns of x 7, inputs 8");
  CHECK_THROWS_WITH(run(10, 8, 10, 5), "chunked ffn: columns of y 5, outputs 6");
  CHECK_THROWS_WITH(run(10, 8, 10, 6, {.token_chunk = -1}), "chunked ffn: token chunk -1, expected at least 0");
  CHECK_THROWS_WITH(run(10, 8, 10, 6, {.hidden_chunk = -2}), "chunked ffn: hidden chunk -2, expected at least 0");
  CHECK_THROWS_AS(run(10, 8, 10, 6), OutOfMemory);
}

#if defined(LTXMEM_TEST_ONEDNN)
TEMPLATE_TEST_CASE("chunked ffn on onednn: token chunks and threads change no bit", "", float, bfloat16) {
  using Backend = CpuBackend<OneDnnGemm>;
  const FfnProblem<TestType> problem(900, 40, 96, 33);
  const ChunkedFFN<TestType, Backend> ffn(problem.up_layer(), problem.down_layer());
  const std::vector<TestType> whole = run_network<Backend>(ffn, problem, {});
  const std::vector<TestType> halves = run_network<Backend>(ffn, problem, {.hidden_chunk = 35});
  CHECK(relative_error(whole, problem.expected(Activation::gelu_tanh, false)) < 4 * rounding<TestType> + 2e-6);
  CHECK(relative_error(halves, problem.expected(Activation::gelu_tanh, false)) < 4 * rounding<TestType> + 2e-6);
  for (const std::int64_t chunk : {1, 257, 512, 900}) {
    for (const int threads : {1, 3}) {
      CAPTURE(chunk, threads);
      CHECK(same_bits(run_network<Backend>(ffn, problem, {.token_chunk = chunk}, threads), whole));
      CHECK(same_bits(run_network<Backend>(ffn, problem, {.token_chunk = chunk, .hidden_chunk = 35}, threads), halves));
    }
  }
}
#endif
