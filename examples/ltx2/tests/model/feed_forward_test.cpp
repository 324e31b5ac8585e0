// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/feed_forward.hpp"

#include <cmath>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"
#include "tests/support/transformer_example.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Backend = ltxmem::CpuBackend<>;

constexpr std::int64_t width = 64;

struct Example {
  explicit Example(std::int64_t tokens)
      : scope((*checkpoint).prefixed("model.diffusion_model.transformer_blocks.0.ff.")),
        layer(scope, width, whole_heads(alone, 4)),
        x(ltxmem::test::random_values<float>(tokens * width, 3)),
        extents{tokens, width} {}

  std::vector<float> run(std::int64_t chunk) {
    std::vector<float> y(x.size());
    layer(backend, {x.data(), extents}, chunk, {}, {y.data(), extents}, arena);
    return y;
  }

  SynthesisedCheckpoint checkpoint{tiny_transformer("ltx23_tiny", 1)};
  WeightScope scope;
  ltxmem::SingleRank alone;
  FeedForward<float, Backend> layer;
  std::vector<float> x;
  ltxmem::Extents<2> extents;
  Backend backend;
  ltxmem::HostResource resource;
  ltxmem::Arena arena{resource, 1 << 24};
};

}  // namespace

TEST_CASE("The feed-forward network is two linear layers with GELU between", "[feed_forward]") {
  Example example(3);
  const std::vector<float> y = example.run(0);
  const LinearWeights up = example.scope.linear("net.0.proj", 4 * width, width);
  const LinearWeights down = example.scope.linear("net.2", width, 4 * width);
  const auto* w1 = reinterpret_cast<const float*>(up.weight.data);
  const auto* w2 = reinterpret_cast<const float*>(down.weight.data);
  for (std::int64_t row = 0; row < 3; ++row) {
    std::vector<double> hidden;
    for (std::int64_t h = 0; h < 4 * width; ++h) {
      double z = static_cast<double>(up.bias[h]);
      for (std::int64_t i = 0; i < width; ++i) {
        z += static_cast<double>(w1[h * width + i]) *
             static_cast<double>(example.x[static_cast<std::size_t>(row * width + i)]);
      }
      hidden.push_back(0.5 * z * (1 + std::tanh(std::sqrt(2 / M_PI) * (z + 0.044715 * z * z * z))));
    }
    for (std::int64_t o = 0; o < width; ++o) {
      double sum = static_cast<double>(down.bias[o]);
      for (std::int64_t h = 0; h < 4 * width; ++h) {
        sum += static_cast<double>(w2[o * 4 * width + h]) * hidden[static_cast<std::size_t>(h)];
      }
      CHECK(static_cast<double>(y[static_cast<std::size_t>(row * width + o)]) == Approx(sum).margin(1e-6));
    }
  }
}

TEST_CASE("Chunks of tokens change no bit of a feed-forward network", "[feed_forward]") {
  Example example(700);
  const std::vector<float> whole = example.run(0);
  CHECK(example.run(256) == whole);
  CHECK(example.run(1) == whole);
  CHECK(example.run(5000) == whole);
}

TEST_CASE("A feed-forward network may write over its input", "[feed_forward]") {
  Example example(300);
  const std::vector<float> apart = example.run(256);
  example.layer(example.backend, {example.x.data(), example.extents}, 256, {}, {example.x.data(), example.extents},
                example.arena);
  CHECK(example.x == apart);
}
