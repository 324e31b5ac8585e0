// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/feature_extractor.hpp"

#include <cmath>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

namespace {

using ltx2::TextProjection;
using ltxmem::TensorView;
using Backend = ltxmem::CpuBackend<>;

constexpr std::int64_t tokens = 5;
constexpr std::int64_t width = 6;
constexpr std::int64_t outputs = 515;  // more than one panel

/// Hidden states and weights of some count of states, and the features by definition.
struct Example {
  TextProjection kind;
  std::int64_t states;
  std::vector<float> hidden;
  std::vector<float> weight;
  std::vector<float> bias;
  ltx2::FeatureWeights weights;

  Example(TextProjection projection, std::int64_t count) : kind(projection), states(count) {
    const auto wave = [](double i) { return static_cast<float>(std::sin(1.7 * i) + 0.3 * std::cos(0.13 * i)); };
    for (std::int64_t i = 0; i < states * tokens * width; ++i) hidden.push_back(3 * wave(static_cast<double>(i)) + 1);
    for (std::int64_t i = 0; i < outputs * width * states; ++i) weight.push_back(wave(0.7 * static_cast<double>(i)));
    for (std::int64_t i = 0; i < outputs; ++i) bias.push_back(wave(static_cast<double>(i) + 0.5));
    ltx2::LinearWeights layer;
    layer.weight = ltxmem::WeightMatrix(TensorView<const float, 2>(weight.data(), {outputs, width * states}));
    if (kind == TextProjection::v2)
      layer.bias = ltxmem::WeightVector(TensorView<const float, 1>(bias.data(), {outputs}));
    weights = {kind, width, states, {layer}};
  }

  TensorView<const float, 2> state(std::int64_t index) const {
    return TensorView<const float, 3>(hidden.data(), {states, tokens, width})[index];
  }

  std::vector<double> expected() const {
    std::vector<double> features(tokens * outputs);
    for (std::int64_t l = 0; l < states; ++l) {
      double sum = 0;
      double least = 1e30;
      double greatest = -1e30;
      for (std::int64_t n = 0; n < tokens; ++n) {
        for (std::int64_t d = 0; d < width; ++d) {
          const double e = static_cast<double>(state(l)(n, d));
          sum += e;
          least = std::min(least, e);
          greatest = std::max(greatest, e);
        }
      }
      for (std::int64_t n = 0; n < tokens; ++n) {
        double squares = 0;
        for (std::int64_t d = 0; d < width; ++d) squares += std::pow(static_cast<double>(state(l)(n, d)), 2);
        for (std::int64_t d = 0; d < width; ++d) {
          const double e = static_cast<double>(state(l)(n, d));
          const double v1 = 8 * (e - sum / (tokens * width + 1e-6)) / (greatest - least + 1e-6);
          const double v2 = e / std::sqrt(squares / width + 1e-6) * std::sqrt(static_cast<double>(outputs) / width);
          const double normal = kind == TextProjection::v1 ? v1 : v2;
          for (std::int64_t o = 0; o < outputs; ++o) {
            features[static_cast<std::size_t>(n * outputs + o)] +=
                normal * static_cast<double>(weight[static_cast<std::size_t>(o * width * states + d * states + l)]);
          }
        }
      }
    }
    if (kind == TextProjection::v2) {
      for (std::size_t i = 0; i < features.size(); ++i) features[i] += static_cast<double>(bias[i % outputs]);
    }
    return features;
  }

  std::vector<float> run(int threads) const {
    Backend backend({.threads = threads, .stop = {}});
    ltxmem::HostResource host;
    ltxmem::Arena arena(host, std::size_t{1} << 22);
    ltx2::FeatureAccumulator<float, Backend> features(weights, tokens, arena);
    for (std::int64_t l = 0; l < states; ++l) features.add(backend, l, state(l), arena);
    return {features.video().data(), features.video().data() + features.video().size()};
  }
};

void check(TextProjection kind, std::int64_t states) {
  const Example example(kind, states);
  const std::vector<double> expected = example.expected();
  const std::vector<float> got = example.run(2);
  REQUIRE(got.size() == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - expected[i]));
  // Sums of up to 114 products of size about 10: a few units in the last place of the largest.
  CHECK(worst < 1e-4);
}

}  // namespace

TEST_CASE("Features of the prompt-wide norm are what their formula says") {
  check(TextProjection::v1, 3);
}
TEST_CASE("Features of the per-token norm are what their formula says") {
  check(TextProjection::v2, 3);
}
TEST_CASE("Features of the prompt-wide norm add up over groups of states") {
  check(TextProjection::v1, 19);
}
TEST_CASE("Features of the per-token norm add up over groups of states") {
  check(TextProjection::v2, 19);
}
TEST_CASE("Features of exactly two groups of states are complete") {
  check(TextProjection::v2, 16);
}

TEST_CASE("Features do not depend on the number of threads") {
  const Example example(TextProjection::v1, 9);
  CHECK(example.run(1) == example.run(3));
}

TEST_CASE("A prompt whose states are all equal has finite features") {
  Example example(TextProjection::v1, 2);
  example.hidden.assign(example.hidden.size(), 2.5F);
  for (const float feature : example.run(1)) REQUIRE(std::isfinite(feature));
}

TEST_CASE("States that do not belong to the features are refused") {
  const Example example(TextProjection::v2, 3);
  Backend backend;
  ltxmem::HostResource host;
  ltxmem::Arena arena(host, std::size_t{1} << 20);
  ltx2::FeatureAccumulator<float, Backend> features(example.weights, tokens, arena);
  CHECK_THROWS_AS((ltx2::FeatureAccumulator<float, Backend>(example.weights, 0, arena)), ltxmem::ShapeError);
  CHECK_THROWS_AS(features.add(backend, 3, example.state(0), arena), ltxmem::ShapeError);
  CHECK_THROWS_AS(features.add(backend, 0, example.state(0).rows(0, 2), arena), ltxmem::ShapeError);
}

TEST_CASE("The features of the released size need no room for all states") {
  // 49 states of 1024 x 3840 in bf16 are 385 MB; the weights here are addresses that are never read.
  using Dry = ltxmem::DryRunBackend<Backend::Target>;
  using ltxmem::bfloat16;
  ltx2::LinearWeights layer;
  const auto* nowhere = reinterpret_cast<const bfloat16*>(std::uintptr_t{1} << 44);
  layer.weight = ltxmem::WeightMatrix(TensorView<const bfloat16, 2>(nowhere, {4096, 3840 * 49}));
  const ltx2::FeatureWeights weights{TextProjection::v2, 3840, 49, {layer}};
  Dry backend;
  ltxmem::Arena arena = ltxmem::Arena::make_virtual();
  ltx2::FeatureAccumulator<bfloat16, Dry> features(weights, 1024, arena);
  CHECK(arena.peak_bytes() == 1024 * 4096 * 4 + 1024 * 8 * 3840 * 2);
  for (std::int64_t l = 0; l < 49; ++l) {
    features.add(backend, l, TensorView<const bfloat16, 2>(nowhere, {1024, 3840}), arena);
  }
  const std::size_t panel = 512 * 8 * 3840 * 2;
  const auto scratch = backend.linear_workspace_bytes<bfloat16>(
      1024, ltxmem::WeightMatrix(TensorView<const bfloat16, 2>(nowhere, {512, 8 * 3840})));
  CHECK(arena.peak_bytes() == 1024 * 4096 * 4 + 1024 * 8 * 3840 * 2 + panel + ltxmem::aligned_bytes(scratch));
}
