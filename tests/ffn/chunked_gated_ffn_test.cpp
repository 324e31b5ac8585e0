// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/ffn/chunked_gated_ffn.hpp"

#include "ffn/chunked_ffn_suite.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;

template <class T>
ChunkedGatedFFN<T, Cpu> network(const FfnProblem<T>& problem, Activation activation = Activation::gelu_tanh) {
  return {problem.gate_layer(), problem.up_layer(), problem.down_layer(), activation};
}

}  // namespace

TEMPLATE_TEST_CASE("chunked gated ffn: matches the reference whatever the chunks", "", float, bfloat16, half) {
  for (const std::int64_t tokens : {1, 256, 257, 600}) {
    const FfnProblem<TestType> problem(tokens, 24, 50, 17);
    const std::vector<double> expected = problem.expected(Activation::silu, true);
    for (const ChunkedFfnOptions& options :
         {ChunkedFfnOptions{}, ChunkedFfnOptions{.token_chunk = 1}, ChunkedFfnOptions{.hidden_chunk = 7},
          ChunkedFfnOptions{.token_chunk = 300, .hidden_chunk = 25}, ChunkedFfnOptions{9999, 9999}}) {
      CAPTURE(tokens, options.token_chunk, options.hidden_chunk);
      CHECK(relative_error(run_network<Cpu>(network(problem, Activation::silu), problem, options), expected) <
            4 * rounding<TestType> + 2e-6);
    }
  }
}

TEMPLATE_TEST_CASE("chunked gated ffn: token chunks and threads change no bit", "", float, bfloat16) {
  const FfnProblem<TestType> problem(700, 40, 70, 33);
  const auto ffn = network(problem);
  const std::vector<TestType> whole = run_network<Cpu>(ffn, problem, {});
  const std::vector<TestType> halves = run_network<Cpu>(ffn, problem, {.hidden_chunk = 35});
  for (const std::int64_t chunk : {1, 257, 699, 701}) {
    for (const int threads : {1, 3}) {
      CAPTURE(chunk, threads);
      CHECK(same_bits(run_network<Cpu>(ffn, problem, {.token_chunk = chunk}, threads), whole));
      CHECK(same_bits(run_network<Cpu>(ffn, problem, {.token_chunk = chunk, .hidden_chunk = 35}, threads), halves));
    }
  }
}

TEST_CASE("chunked gated ffn: y may be x and the residual at once") {
  FfnProblem<float> problem(300, 32, 64, 32);
  problem.residual = problem.x;
  const auto ffn = network(problem);
  const ChunkedFfnOptions options = GENERATE(ChunkedFfnOptions{256, 0}, ChunkedFfnOptions{0, 10});
  const std::vector<float> apart = run_network<Cpu>(ffn, problem, options);
  Cpu backend;
  HostResource host;
  Arena arena(host, ffn.workspace_bytes(backend, problem.tokens, options));
  LinearEpilogue<float> epilogue = problem.epilogue();
  epilogue.residual = problem.x.view();
  ffn(backend, problem.x.view(), epilogue, problem.x.view(), arena, options);
  CHECK(same_bits(problem.x.values, apart));
}

TEST_CASE("chunked gated ffn: workspace is the formula and the dry run's peak") {
  const std::int64_t tokens = GENERATE(1, 300, 2000, 5000);
  const std::int64_t token_chunk = GENERATE(0, 700);
  const std::int64_t hidden_chunk = GENERATE(0, 13);
  CAPTURE(tokens, token_chunk, hidden_chunk);
  const ChunkedFfnOptions options{token_chunk, hidden_chunk};
  const FfnProblem<bfloat16> weights(1, 40, 100, 30);
  const Cpu backend({.threads = 2});
  const std::size_t bytes = network(weights).workspace_bytes(backend, tokens, options);
  const ChunkedGatedFFN<bfloat16, Dry> dry(weights.gate_layer(), weights.up_layer(), weights.down_layer());
  CHECK(dry_network_peak<bfloat16>(dry, tokens, options, 2) == bytes);
}

TEST_CASE("chunked gated ffn: no token is no work and no workspace") {
  const FfnProblem<float> problem(0, 8, 16, 8);
  CHECK(run_network<Cpu>(network(problem), problem, {}).empty());
}

TEST_CASE("chunked gated ffn: layers that do not fit are refused") {
  const FfnProblem<float> problem(10, 8, 16, 6);
  using Network = ChunkedGatedFFN<float, Cpu>;
  const DenseLinear gate = problem.gate_layer();
  const DenseLinear up = problem.up_layer();
  const DenseLinear down = problem.down_layer();
  CHECK_THROWS_WITH(Network(gate.slice_outputs(0, 15), up, down),
                    "chunked gated ffn: outputs of the gate 15, of the values 16");
  CHECK_THROWS_WITH(Network(gate.slice_inputs(0, 7), up, down),
                    "chunked gated ffn: inputs of the gate 7, of the values 8");
  CHECK_THROWS_WITH(Network(gate, up, down.slice_inputs(0, 9)),
                    "chunked gated ffn: outputs of the first layer 16, inputs of the second 9");
}
