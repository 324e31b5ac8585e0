// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/connector.hpp"

#include <cmath>
#include <vector>

#include "tests/support/golden_case.hpp"
#include "tests/text/naive_text.hpp"

namespace {

using ltxmem::TensorView;
using Backend = ltxmem::CpuBackend<>;

/// The video connector of one of the tiny models.
struct TinyConnector {
  ltxmem::HostResource host;
  ltx2::Checkpoint model;
  ltx2::ConnectorConfig config;
  ltx2::WeightScope weights;

  explicit TinyConnector(const std::string& name = "ltx23_tiny")
      : model(ltx2::test::golden_models() / (name + ".safetensors"), host),
        config(*model.config().video_connector),
        weights(model.prefixed("model.diffusion_model.video_embeddings_connector.")) {}

  std::vector<float> features(std::int64_t tokens) const {
    std::vector<float> values;
    for (std::int64_t i = 0; i < tokens * config.width(); ++i) {
      values.push_back(static_cast<float>(2.0 * std::sin(0.37 * static_cast<double>(i))));
    }
    return values;
  }

  template <class T = float>
  std::vector<float> run(std::int64_t tokens, std::int64_t length, const ltx2::TextTiles& tiles = {},
                         int threads = 2) const {
    const std::vector<float> input = features(tokens);
    std::vector<float> context(static_cast<std::size_t>(length * config.width()));
    Backend backend({.threads = threads, .stop = {}});
    const ltxmem::ResourceRef resource(const_cast<ltxmem::HostResource&>(host));
    ltxmem::Workspace workspace{{resource, std::size_t{1} << 26}, {resource, 0}, {resource, 0}};
    const ltx2::Connector<T, Backend> connector(config, weights);
    const ltx2::ModelBlocks blocks(model, ltx2::connector_block_prefixes(config, weights.prefix()), {});
    ltx2::BlockStream<Backend> stream(backend, blocks, {}, workspace);
    connector(backend, TensorView<const float, 2>(input.data(), {tokens, config.width()}), tiles, stream,
              {context.data(), {length, config.width()}}, workspace.device);
    return context;
  }

  std::vector<double> naive(std::int64_t tokens, std::int64_t length, ltx2::test::Rounding rounding) const {
    const std::vector<float> values = features(tokens);
    ltx2::test::Rows rows;
    for (std::int64_t n = 0; n < tokens; ++n) {
      const auto begin = values.begin() + n * config.width();
      rows.emplace_back(begin, begin + config.width());
    }
    std::vector<double> flat;
    for (const auto& row : ltx2::test::NaiveConnector(config, weights, rounding)(rows, length)) {
      flat.insert(flat.end(), row.begin(), row.end());
    }
    return flat;
  }
};

double largest_difference(const std::vector<float>& got, const std::vector<double>& truth) {
  REQUIRE(got.size() == truth.size());
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - truth[i]));
  return worst;
}

}  // namespace

TEST_CASE("A connector agrees with the same model written plainly") {
  for (const char* name : {"ltx20_tiny", "ltx23_tiny"}) {
    const TinyConnector connector(name);
    // Outputs are of size 1; angles of up to 15708 in fp32 are the same on both sides.
    CHECK(largest_difference(connector.run(10, 128), connector.naive(10, 128, ltx2::test::exact)) < 2e-5);
  }
}

TEST_CASE("A connector in bf16 is at most twice as wrong as a plain bf16 evaluation") {
  const TinyConnector connector;
  const auto truth = connector.naive(10, 128, ltx2::test::exact);
  const auto rounded = connector.naive(10, 128, ltx2::test::to_bf16);
  const double plain = largest_difference({rounded.begin(), rounded.end()}, truth);
  const double ours = largest_difference(connector.run<ltxmem::bfloat16>(10, 128), truth);
  CAPTURE(plain, ours);
  CHECK(ours <= 2 * plain);
  CHECK(ours > 1e-4);
}

TEST_CASE("Rows behind the prompt are the registers of the same number") {
  TinyConnector connector;
  connector.config.layers = 0;  // what is left is the norm of the layout
  const std::vector<float> context = connector.run(3, 256);
  const std::int64_t width = connector.config.width();
  const auto registers = connector.weights.matrix("learnable_registers", 128, width);
  const std::vector<float> features = connector.features(3);
  for (const std::int64_t row : {0, 2, 3, 127, 128, 131, 255}) {
    CAPTURE(row);
    std::vector<double> expected;
    double squares = 0;
    for (std::int64_t d = 0; d < width; ++d) {
      expected.push_back(row < 3 ? static_cast<double>(features[static_cast<std::size_t>(row * width + d)])
                                 : ltx2::test::element(registers, row % 128, d));
      squares += expected.back() * expected.back();
    }
    const double rms = std::sqrt(squares / static_cast<double>(width) + 1e-6);
    for (std::int64_t d = 0; d < width; ++d) {
      REQUIRE(context[static_cast<std::size_t>(row * width + d)] ==
              Approx(expected[static_cast<std::size_t>(d)] / rms).margin(1e-6));
    }
  }
}

TEST_CASE("Every row of a context has a root mean square of 1") {
  const TinyConnector connector;
  const std::vector<float> context = connector.run(7, 128);
  const auto width = static_cast<std::size_t>(connector.config.width());
  for (std::size_t row = 0; row < 128; ++row) {
    double squares = 0;
    for (std::size_t d = 0; d < width; ++d) squares += std::pow(static_cast<double>(context[row * width + d]), 2);
    REQUIRE(std::sqrt(squares / static_cast<double>(width)) == Approx(1).margin(1e-4));
  }
}

TEST_CASE("No tile size and no number of threads changes a bit of a context") {
  const TinyConnector connector;
  const std::vector<float> whole = connector.run(300, 640, {}, 1);
  CHECK(connector.run(300, 640, {.ffn_chunk = 256, .query_tile = 256, .key_tile = 256}, 3) == whole);
  CHECK(connector.run(300, 640, {.ffn_chunk = 100, .query_tile = 512, .key_tile = 512}, 2) == whole);
}

TEST_CASE("A connector refuses lengths that its registers do not fill and prompts that do not fit") {
  const TinyConnector connector;
  CHECK_THROWS_AS(connector.run(3, 100), ltxmem::ShapeError);
  CHECK_THROWS_AS(connector.run(129, 128), ltxmem::ShapeError);
}
