// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/gemma.hpp"

#include <cmath>
#include <vector>

#include "tests/support/golden_case.hpp"
#include "tests/text/naive_text.hpp"
#include "text/encode_prompt.hpp"

namespace {

using Ids = std::vector<std::int32_t>;

ltx2::Settings settings(ltxmem::DType dtype = ltxmem::DType::f32, std::int64_t tile = 256, int threads = 2) {
  ltx2::Settings result;
  result.dtype = dtype;
  result.threads = threads;
  result.ffn_chunk = result.query_tile = result.key_tile = tile;
  return result;
}

Ids some_ids(std::int64_t count) {
  Ids ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>((i * 37 + 11) % 512));
  return ids;
}

struct TinyGemma {
  ltxmem::HostResource host;
  ltx2::Checkpoint model{ltx2::test::golden_models() / "gemma_tiny", host};
  const ltx2::GemmaConfig& config = *model.config().gemma;

  std::vector<float> run(const Ids& ids, const ltx2::Settings& settings) const {
    ltx2::Runtime runtime(settings);
    const ltxmem::Extents<3> extents{config.layers + 1, static_cast<std::int64_t>(ids.size()), config.hidden_size};
    std::vector<float> hidden(static_cast<std::size_t>(ltxmem::element_count(extents)));
    ltx2::run_gemma(runtime, model, ids, {hidden.data(), extents});
    return hidden;
  }

  std::vector<double> naive(const Ids& ids, ltx2::test::Rounding rounding) const {
    std::vector<double> flat;
    for (const auto& rows : ltx2::test::NaiveGemma(config, model.gemma(), rounding)(ids)) {
      for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
    }
    return flat;
  }
};

/// Largest difference relative to the largest true value.
template <class Got>
double error(const std::vector<Got>& got, const std::vector<double>& truth) {
  REQUIRE(got.size() == truth.size());
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - truth[i]));
    largest = std::max(largest, std::abs(truth[i]));
  }
  return worst / largest;
}

template <class Got>
double mean_square(const std::vector<Got>& got, const std::vector<double>& truth) {
  REQUIRE(got.size() == truth.size());
  double sum = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) sum += std::pow(static_cast<double>(got[i]) - truth[i], 2);
  return sum / static_cast<double>(truth.size());
}

}  // namespace

TEST_CASE("Gemma's embedding factor is rounded to the precision of the weights") {
  CHECK(ltx2::gemma_embedding_scale(3840, ltxmem::DType::bf16) == 62.0F);
  CHECK(ltx2::gemma_embedding_scale(3840, ltxmem::DType::f32) == Approx(61.9677335));
  CHECK(ltx2::gemma_embedding_scale(3840, ltxmem::DType::f16) == 61.96875F);
}

TEST_CASE_METHOD(TinyGemma, "Gemma agrees with the same model written plainly") {
  for (const std::int64_t count : {1, 24, 25, 70}) {
    CAPTURE(count);
    const Ids ids = some_ids(count);
    CHECK(error(run(ids, settings()), naive(ids, ltx2::test::exact)) < 5e-5);
  }
}

TEST_CASE_METHOD(TinyGemma, "Gemma in bf16 is at most twice as wrong as a plain bf16 evaluation") {
  // In the root mean square over all states: single tokens of this model magnify a rounding a hundredfold, in either
  // evaluation and by chance.
  const Ids ids = some_ids(40);
  const auto truth = naive(ids, ltx2::test::exact);
  const double plain = mean_square(naive(ids, ltx2::test::to_bf16), truth);
  const double ours = mean_square(run(ids, settings(ltxmem::DType::bf16)), truth);
  CAPTURE(plain, ours);
  CHECK(ours <= 4 * plain);
  CHECK(ours > plain / 100);  // it did compute in bf16
}

TEST_CASE_METHOD(TinyGemma, "No tile size and no number of threads changes a bit of Gemma's states") {
  const Ids ids = some_ids(600);
  const std::vector<float> whole = run(ids, settings(ltxmem::DType::f32, 4096, 1));
  CHECK(run(ids, settings(ltxmem::DType::f32, 256, 3)) == whole);
  CHECK(run(ids, settings(ltxmem::DType::f32, 512, 2)) == whole);
}

TEST_CASE_METHOD(TinyGemma, "A token's states do not depend on what follows it") {
  const std::vector<float> longer = run(some_ids(50), settings());
  const std::vector<float> shorter = run(some_ids(30), settings());
  const auto width = static_cast<std::size_t>(config.hidden_size);
  const std::size_t last_state = static_cast<std::size_t>(config.layers);
  for (std::size_t i = 0; i < 30 * width; ++i) {
    REQUIRE(longer[last_state * 50 * width + i] == shorter[last_state * 30 * width + i]);
  }
}

TEST_CASE_METHOD(TinyGemma, "Ids outside the vocabulary are refused") {
  CHECK_THROWS_AS(run({2, 512}, settings()), ltxmem::ShapeError);
  CHECK_THROWS_AS(run({-1}, settings()), ltxmem::ShapeError);
}

TEST_CASE("Weights without Gemma are refused by name") {
  ltxmem::HostResource host;
  const ltx2::Checkpoint model(ltx2::test::golden_models() / "ltx23_tiny.safetensors", host);
  ltx2::Runtime runtime(settings());
  CHECK_THROWS_WITH(ltx2::run_gemma(runtime, model, {2}, {}), Catch::Contains("no Gemma text model"));
}
