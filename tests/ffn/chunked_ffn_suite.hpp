// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "ltxmem/ffn/chunked_ffn.hpp"
#include "weights/layers.hpp"

/// Problems for the feed-forward networks, and their running in exactly the workspace that they ask for.

namespace ltxmem::test {

/// Random weights of a plain and a gated network with D inputs, F hidden channels and E outputs.
template <class T>
struct FfnProblem {
  FfnProblem(std::int64_t token_count, std::int64_t inputs, std::int64_t hidden_width, std::int64_t outputs)
      : tokens(token_count),
        hidden(hidden_width),
        x(tokens, inputs, 1),
        residual(tokens, outputs, 2),
        gate(hidden, inputs, 3),
        up(hidden, inputs, 4),
        down(outputs, hidden, 5),
        gate_bias(random_values<float>(hidden, 6)),
        up_bias(random_values<float>(hidden, 7)),
        down_bias(random_values<float>(outputs, 8)),
        factors(random_values<float>(2 * outputs, 9)) {
    for (std::int64_t n = 0; n < tokens; ++n) index.push_back(static_cast<std::int32_t>(n % 3 == 0));
  }

  DenseLinear gate_layer() const { return DenseLinear(gate.weight(), bias_view(gate_bias)); }
  DenseLinear up_layer() const { return DenseLinear(up.weight(), bias_view(up_bias)); }
  DenseLinear down_layer() const { return DenseLinear(down.weight(), bias_view(down_bias)); }

  /// Gated residual: y = residual + factors[index] * network(x).
  LinearEpilogue<T> epilogue() const {
    LinearEpilogue<T> chosen;
    chosen.residual = residual.view();
    chosen.gate = {{factors.data(), {2, down.rows}}, {index.data(), {tokens}}};
    return chosen;
  }

  std::vector<double> hidden_sums(const RandomMatrix<T>& w, const std::vector<float>& bias) const {
    std::vector<double> sums = reference_product(x.doubles(), w.doubles(), tokens, hidden, x.columns);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += as_double(bias[i % bias.size()]);
    return sums;
  }

  std::vector<double> expected(Activation activation, bool gated) const {
    std::vector<double> activations = hidden_sums(gated ? gate : up, gated ? gate_bias : up_bias);
    for (double& value : activations) value = reference_activation(activation, value);
    if (gated) {
      const std::vector<double> values = hidden_sums(up, up_bias);
      for (std::size_t i = 0; i < values.size(); ++i) activations[i] *= values[i];
    }
    std::vector<double> y = reference_product(activations, down.doubles(), tokens, down.rows, hidden);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::size_t column = i % static_cast<std::size_t>(down.rows);
      const std::size_t row = static_cast<std::size_t>(index[i / static_cast<std::size_t>(down.rows)]);
      y[i] = as_double(residual.values[i]) + as_double(factors[row * static_cast<std::size_t>(down.rows) + column]) *
                                                 (y[i] + as_double(down_bias[column]));
    }
    return y;
  }

  std::int64_t tokens;
  std::int64_t hidden;
  RandomMatrix<T> x;
  RandomMatrix<T> residual;
  RandomMatrix<T> gate;
  RandomMatrix<T> up;
  RandomMatrix<T> down;
  std::vector<float> gate_bias;
  std::vector<float> up_bias;
  std::vector<float> down_bias;
  std::vector<float> factors;
  std::vector<std::int32_t> index{};
};

/// y of a network in a workspace of exactly workspace_bytes; checks that this is also the counted peak.
template <class Backend, class T, class Network>
std::vector<T> run_network(const Network& network, const FfnProblem<T>& problem, const ChunkedFfnOptions& options,
                           int threads = 1) {
  Backend backend({.threads = threads});
  const std::size_t bytes = network.workspace_bytes(backend, problem.tokens, options);
  std::vector<T> y(static_cast<std::size_t>(problem.tokens * network.outputs()));
  HostResource host;
  CountingResource counting(host);
  {
    Arena arena(counting, bytes);
    network(backend, problem.x.view(), problem.epilogue(), {y.data(), {problem.tokens, network.outputs()}}, arena,
            options);
    CHECK(arena.peak_bytes() == bytes);
    CHECK(arena.used_bytes() == 0);
  }
  CHECK(counting.peak_bytes() == bytes);
  return y;
}

template <class T, class Network>
std::size_t dry_network_peak(const Network& network, std::int64_t tokens, const ChunkedFfnOptions& options,
                             int threads) {
  DryRunBackend dry(CpuBackend<>({.threads = threads}).target());
  Arena arena = Arena::make_virtual();
  network(dry, TensorView<const T, 2>(nullptr, {tokens, network.inputs()}), LinearEpilogue<T>{},
          TensorView<T, 2>(nullptr, {tokens, network.outputs()}), arena, options);
  return arena.peak_bytes();
}

}  // namespace ltxmem::test
