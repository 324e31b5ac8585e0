// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/parallel/tensor_parallel_linear.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "attention/tiled_attention_suite.hpp"
#include "ffn/chunked_ffn_suite.hpp"
#include "ltxmem/ffn/chunked_gated_ffn.hpp"
#include "ltxmem/parallel/planned_communicator.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "ltxmem/weights/lora_linear.hpp"
#include "parallel/communicator_suite.hpp"
#include "support/catch.hpp"
#include "weights/layers.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;
using test::must;
template <class Layer = DenseLinear>
using Threaded = TensorParallelLinear<Layer, ThreadCommunicator>;
static_assert(LinearLayer<Threaded<>, float, Cpu> && LinearLayer<Threaded<>, bfloat16, Cpu>);
static_assert(LinearLayer<Threaded<LoraLinear<DenseLinear>>, float, Cpu>);

/// Ways to share channels: even, uneven, nothing for some.
std::vector<Partition> shares(std::int64_t total, int ranks) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks), 0);
  counts[0] = total;
  std::vector<Partition> result{Partition::even(total, ranks), Partition::of_counts(counts)};
  if (ranks > 1) {
    counts[0] = 0;
    counts[1] = total;
    result.push_back(Partition::of_counts(counts));
    counts[0] = 1;
    counts[1] = total - 1;
    result.push_back(Partition::of_counts(counts));
  }
  return result;
}

template <class T>
struct Plan {
  std::size_t peak;
  Traffic traffic;
  std::int64_t message_bytes;
};

/// The network of one rank, in any executor.
template <class T, class Backend, class Ranks>
void network_body(Backend& backend, Ranks& ranks, const test::FfnProblem<T>& p, const Partition& hidden,
                  const ChunkedFfnOptions& options, TensorView<T, 2> y, Arena& arena) {
  using Layer = TensorParallelLinear<DenseLinear, Ranks>;
  const ChunkedFFN<T, Backend, Layer> network(Layer::by_outputs(p.up_layer(), hidden, ranks),
                                              Layer::by_inputs(p.down_layer(), hidden, ranks));
  network(backend, p.x.view(), p.epilogue(), y, arena, options);
}

/// y of every rank; checks peaks and traffic against the formula and a dry run.
template <class T>
std::vector<std::vector<T>> run_ranks(const test::FfnProblem<T>& p, const Partition& hidden,
                                      const ChunkedFfnOptions& options = {}) {
  std::vector<std::vector<T>> results(static_cast<std::size_t>(hidden.ranks()));
  ThreadGroup group(hidden.ranks());
  run_on_threads(group, [&](int rank) {
    std::vector<T>& result = results[static_cast<std::size_t>(rank)];
    result.resize(static_cast<std::size_t>(p.tokens * p.down.rows));
    const TensorView<T, 2> y(result.data(), {p.tokens, p.down.rows});
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    using Layer = Threaded<>;
    const ChunkedFFN<T, Cpu, Layer> network(Layer::by_outputs(p.up_layer(), hidden, ranks),
                                            Layer::by_inputs(p.down_layer(), hidden, ranks));
    HostResource host;
    Arena arena(host, network.workspace_bytes(backend, p.tokens, options));
    network_body(backend, ranks, p, hidden, options, y, arena);
    must(arena.peak_bytes() == arena.capacity_bytes(),
         "peak " + std::to_string(arena.peak_bytes()) + " of " + std::to_string(arena.capacity_bytes()));

    Dry dry(backend.target());
    PlannedCommunicator planned(rank, hidden.ranks());
    Arena planned_arena = Arena::make_virtual();
    network_body(dry, planned, p, hidden, options, y, planned_arena);
    must(planned_arena.peak_bytes() == arena.peak_bytes(), "planned peak differs");
    must(planned.traffic() == ranks.traffic(), "planned traffic differs");
    must(dry.record().totals().message_bytes == ranks.traffic().link_bytes, "recorded traffic differs");
    const std::int64_t chunks = options.token_chunk == 0 ? 1 : ceil_div(p.tokens, options.token_chunk);
    must(ranks.traffic().collectives == (ranks.size() == 1 ? 0 : chunks), "not one collective per pair and chunk");
  });
  return results;
}

TEMPLATE_TEST_CASE("a network over ranks is the network", "[parallel]", float, bfloat16) {
  const test::FfnProblem<TestType> p(37, 24, 40, 18);
  const std::vector<double> expected = p.expected(Activation::gelu_tanh, false);
  for (const int ranks : {1, 2, 3, 4, 7}) {
    for (const Partition& hidden : shares(40, ranks)) {
      const auto results = run_ranks(p, hidden);
      CAPTURE(ranks, hidden.counts()[0]);
      CHECK(test::relative_error(results[0], expected) <=
            (sizeof(TestType) == 4 ? 1e-6 : 2 * test::rounding<bfloat16>));
      for (const auto& other : results) CHECK(test::same_bits(other, results[0]));
    }
  }
}

TEST_CASE("a network over one rank has the bits of one without ranks", "[parallel]") {
  const test::FfnProblem<float> p(37, 24, 40, 18);
  const ChunkedFFN<float, Cpu> alone(p.up_layer(), p.down_layer());
  const auto expected = test::run_network<Cpu>(alone, p, {});
  CHECK(test::same_bits(run_ranks(p, Partition::even(40, 1))[0], expected));
}

TEST_CASE("shares that were cut elsewhere add up like those cut here", "[parallel]") {
  const test::FfnProblem<float> p(37, 24, 40, 18);
  for (const Partition& inputs : shares(40, 3)) {
    std::vector<std::vector<float>> results(2);
    ThreadGroup group(3);
    run_on_threads(group, [&](int rank) {
      const Segment own = inputs.segment(rank);
      const std::vector<float> x = test::random_values<float>(p.tokens * own.count, 7);
      Cpu backend;
      ThreadCommunicator ranks(group, rank);
      const DenseLinear layer = p.down_layer();
      const auto run = [&](const Threaded<>& share) {
        std::vector<float> y(static_cast<std::size_t>(p.tokens * share.outputs()));
        HostResource host;
        Arena arena(host, share.workspace_bytes<float>(backend, p.tokens));
        share.apply(backend, TensorView<const float, 2>(x.data(), {p.tokens, own.count}), LinearEpilogue<float>{},
                    TensorView<float, 2>(y.data(), {p.tokens, share.outputs()}), arena);
        return y;
      };
      const std::vector<float> here = run(Threaded<>::by_inputs(layer, inputs, ranks));
      const std::vector<float> elsewhere = run(Threaded<>::summed(layer.slice_inputs(own.begin, own.count), ranks));
      if (rank == 0) results = {here, elsewhere};
    });
    REQUIRE_FALSE(results[0].empty());
    CHECK(test::same_bits(results[0], results[1]));
  }
}

TEST_CASE("chunks of tokens change no bit over ranks either, and cost one collective each", "[parallel]") {
  const test::FfnProblem<float> p(700, 8, 30, 6);
  for (const Partition& hidden : shares(30, 3)) {
    const auto whole = run_ranks(p, hidden)[0];
    CHECK(test::same_bits(run_ranks(p, hidden, {.token_chunk = 256})[0], whole));
    CHECK(test::same_bits(run_ranks(p, hidden, {.token_chunk = 512})[0], whole));
  }
}

TEST_CASE("hidden chunks add up on the rank before the one collective", "[parallel]") {
  const test::FfnProblem<float> p(300, 8, 30, 6);
  const std::vector<double> expected = p.expected(Activation::gelu_tanh, false);
  for (const Partition& hidden : shares(30, 3)) {
    const auto results = run_ranks(p, hidden, {.token_chunk = 256, .hidden_chunk = 4});
    CHECK(test::relative_error(results[2], expected) <= 1e-6);
  }
}

TEST_CASE("the traffic of a pair is one all_reduce of float sums", "[parallel]") {
  const test::FfnProblem<bfloat16> p(64, 8, 30, 16);
  Dry dry(Cpu::Target{1});
  PlannedCommunicator ranks(1, 4);
  Arena arena = Arena::make_virtual();
  network_body(dry, ranks, p, Partition::even(30, 4), {}, TensorView<bfloat16, 2>(nullptr, {64, 16}), arena);
  const std::int64_t bytes = 64 * 16 * 4;
  CHECK(ranks.traffic().sent_bytes == 2 * bytes * 3 / 4);
  CHECK(ranks.traffic().messages == 6);
  CHECK(ranks.traffic().collectives == 1);
}

TEST_CASE("a gated network over ranks is the gated network", "[parallel]") {
  const test::FfnProblem<float> p(37, 24, 41, 18);
  const std::vector<double> expected = p.expected(Activation::silu, true);
  ThreadGroup group(3);
  const Partition hidden = Partition::even(41, 3);
  std::vector<std::vector<float>> results(3);
  run_on_threads(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    using Layer = Threaded<>;
    const ChunkedGatedFFN<float, Cpu, Layer> network(Layer::by_outputs(p.gate_layer(), hidden, ranks),
                                                     Layer::by_outputs(p.up_layer(), hidden, ranks),
                                                     Layer::by_inputs(p.down_layer(), hidden, ranks), Activation::silu);
    HostResource host;
    Arena arena(host, 1 << 20);
    auto& result = results[static_cast<std::size_t>(rank)];
    result.resize(37 * 18);
    network(backend, p.x.view(), p.epilogue(), TensorView<float, 2>(result.data(), {37, 18}), arena);
    must(ranks.traffic().collectives == 1, "not one collective");
  });
  for (const auto& result : results) CHECK(test::relative_error(result, expected) <= 2e-6);
}

TEST_CASE("a layer with an adapter is cut by inputs like any other", "[parallel]") {
  const test::RandomMatrix<float> x(20, 24, 1), w(10, 24, 2), down(4, 24, 3), up(10, 4, 4);
  const std::vector<float> bias = test::random_values<float>(10, 5);
  const LoraLinear<DenseLinear> layer(DenseLinear(w.weight(), test::bias_view(bias)),
                                      {{down.weight(), up.weight(), 0.5F}});
  const std::vector<float> alone = test::apply<float>(layer, x);
  ThreadGroup group(3);
  const Partition inputs = Partition::even(24, 3);
  std::vector<std::vector<float>> results(3);
  run_on_threads(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    const auto share = Threaded<LoraLinear<DenseLinear>>::by_inputs(layer, inputs, ranks);
    HostResource host;
    Arena arena(host, share.workspace_bytes<float>(backend, 20));
    auto& result = results[static_cast<std::size_t>(rank)];
    result.resize(200);
    const Segment part = inputs.segment(rank);
    share.apply(backend, x.view().columns(part.begin, part.count), LinearEpilogue<float>{},
                TensorView<float, 2>(result.data(), {20, 10}), arena);
    must(arena.peak_bytes() == arena.capacity_bytes(), "peak differs from workspace bytes");
  });
  for (const auto& result : results) CHECK(test::relative_error(result, test::as_doubles(alone)) <= 1e-6);
}

// ------------------------------------------------------------------------------------------------ attention by heads

/// norm over the full width and attention, heads shared among ranks; x W_out^T at the end.
struct HeadProblem {
  static constexpr std::int64_t tokens = 30, width = 24, heads = 5, head_dim = 8;
  test::RandomMatrix<float> x{tokens, width, 1}, q{heads * head_dim, width, 2}, k{heads * head_dim, width, 3},
      v{heads * head_dim, width, 4}, out{width, heads*head_dim, 5};
  std::vector<float> weight = test::random_values<float>(heads * head_dim, 6);
};

template <class Ranks>
std::vector<float> attend(const HeadProblem& p, const Partition& shared, Ranks& ranks) {
  using Layer = TensorParallelLinear<DenseLinear, Ranks>;
  constexpr std::int64_t tokens = HeadProblem::tokens;
  Cpu backend;
  HostResource host;
  Arena arena(host, 1 << 20);
  const std::int64_t heads = shared.count(ranks.rank());
  const Partition channels = shared.times(HeadProblem::head_dim);
  const Segment mine = channels.segment(ranks.rank());
  const auto rows = [&](const char* name, const test::RandomMatrix<float>& w) {
    const auto y = arena.take<float, 2>(name, {tokens, mine.count});
    const auto layer = Layer::by_outputs(DenseLinear(w.weight()), channels, ranks);
    if (heads > 0) layer.apply(backend, p.x.view(), LinearEpilogue<float>{}, y, arena);
    return y;
  };
  const auto q = rows("q", p.q);
  const auto k = rows("k", p.k);
  const auto v = rows("v", p.v);
  for (const auto& part : {q, k}) {
    const auto factors = arena.take<float, 1>("factors", {tokens});
    head_norm_factors(backend, ranks, TensorView<const float, 2>(part), channels.total(), 1e-6F, factors, arena);
    if (heads == 0) continue;
    HeadNormArguments arguments;
    arguments.heads = heads;
    arguments.weight = test::bias_view(p.weight).slice(mine.begin, mine.count);
    arguments.row_factors = factors;
    backend.head_norm(part, arguments);
  }
  if (heads > 0) {
    TiledAttention<float, Cpu>({.heads = heads})(backend, q, TensorView<const float, 2>(k),
                                                 TensorView<const float, 2>(v), q, arena);
  }
  std::vector<float> result(static_cast<std::size_t>(tokens * HeadProblem::width));
  LinearEpilogue<float> residual;
  residual.residual = p.x.view();
  Layer::by_inputs(DenseLinear(p.out.weight()), channels, ranks)
      .apply(backend, TensorView<const float, 2>(q), residual,
             TensorView<float, 2>(result.data(), {tokens, HeadProblem::width}), arena);
  return result;
}

TEST_CASE("attention by heads with a norm over all of them takes three collectives, for any number of heads",
          "[parallel]") {
  const HeadProblem p;
  SingleRank single;
  const std::vector<float> alone = attend(p, Partition::even(HeadProblem::heads, 1), single);
  for (const int size : {2, 3, 4, 7}) {
    CAPTURE(size);
    std::vector<std::vector<float>> results(static_cast<std::size_t>(size));
    ThreadGroup group(size);
    run_on_threads(group, [&](int rank) {
      ThreadCommunicator ranks(group, rank);
      results[static_cast<std::size_t>(rank)] = attend(p, Partition::even(HeadProblem::heads, size), ranks);
      must(ranks.traffic().collectives == 3, "not one collective per norm and pair");
    });
    for (const auto& result : results) CHECK(test::relative_error(result, test::as_doubles(alone)) <= 2e-6);
  }
}

TEST_CASE("norm factors across ranks are those of the whole row", "[parallel]") {
  const test::RandomMatrix<float> x(40, 50, 1);
  Cpu backend;
  std::vector<float> whole(40);
  backend.head_norm_factors(x.view(), 1e-6F, TensorView<float, 1>(whole.data(), {40}));
  for (const int size : {1, 2, 3, 7}) {
    for (const Partition& columns : shares(50, size)) {
      std::vector<std::vector<float>> results(static_cast<std::size_t>(size), std::vector<float>(40));
      ThreadGroup group(size);
      run_on_threads(group, [&](int rank) {
        Cpu mine;
        ThreadCommunicator ranks(group, rank);
        HostResource host;
        Arena arena(host, ranks.all_reduce_workspace_bytes<float>({40, 1}));
        const Segment part = columns.segment(rank);
        head_norm_factors(mine, ranks, x.view().columns(part.begin, part.count), 50, 1e-6F,
                          TensorView<float, 1>(results[static_cast<std::size_t>(rank)].data(), {40}), arena);
      });
      for (const auto& result : results) {
        CHECK(test::same_bits(result, results[0]));
        CHECK(test::relative_error(result, test::as_doubles(whole)) <= (size == 1 ? 0.0 : 1e-6));
      }
    }
  }
}

TEST_CASE("a row of zeros has the factor that eps gives", "[parallel]") {
  ThreadGroup group(2);
  std::vector<std::vector<float>> results(2, std::vector<float>(1));
  run_on_threads(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    HostResource host;
    Arena arena(host, 1 << 12);
    const std::vector<float> zeros(4);
    head_norm_factors(backend, ranks, TensorView<const float, 2>(zeros.data(), {1, 4}), 8, 0.25F,
                      TensorView<float, 1>(results[static_cast<std::size_t>(rank)].data(), {1}), arena);
  });
  CHECK(results[0][0] == 2.0F);
  CHECK(results[1][0] == 2.0F);
}

// --------------------------------------------------------------------------------------------------------- refusals

TEST_CASE("a share of a layer must be a share of its width and of its ranks", "[parallel]") {
  const test::RandomMatrix<float> w(6, 8, 1);
  const DenseLinear layer(w.weight());
  PlannedCommunicator ranks(0, 2);
  using Layer = TensorParallelLinear<DenseLinear, PlannedCommunicator>;
  CHECK_THROWS_WITH(Layer::by_outputs(layer, Partition::even(8, 2), ranks),
                    "tensor parallel linear: outputs 6, a partition of 8");
  CHECK_THROWS_WITH(Layer::by_inputs(layer, Partition::even(6, 2), ranks),
                    "tensor parallel linear: inputs 8, a partition of 6");
  CHECK_THROWS_WITH(Layer::by_inputs(layer, Partition::even(8, 3), ranks),
                    "tensor parallel linear: a partition over 3 ranks of 2");
}

TEST_CASE("what belongs to the sum over ranks is refused for a part of a rank's inputs", "[parallel]") {
  const test::RandomMatrix<float> w(6, 8, 1);
  PlannedCommunicator ranks(0, 2);
  using Layer = TensorParallelLinear<DenseLinear, PlannedCommunicator>;
  const Layer share = Layer::by_inputs(DenseLinear(w.weight()), Partition::even(8, 2), ranks);
  Dry dry(Cpu::Target{1});
  Arena arena = Arena::make_virtual();
  const auto y = arena.take<float, 2>("y", {3, 6});
  const auto x = arena.take<float, 2>("x", {3, 4});
  LinearEpilogue<float> epilogue;
  epilogue.activation = Activation::silu;
  CHECK_THROWS_AS(share.slice_inputs(0, 2).apply(dry, TensorView<const float, 2>(x.columns(0, 2)), epilogue, y, arena),
                  ShapeError);
  CHECK(ranks.traffic() == Traffic{});
  share.slice_inputs(2, 2).apply(dry, TensorView<const float, 2>(x.columns(2, 2)), epilogue, y, arena);
  CHECK(ranks.traffic().collectives == 1);
}

}  // namespace
}  // namespace ltxmem
