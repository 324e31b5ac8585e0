// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/linear.hpp"

#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

namespace {

using namespace ltx2;
using Backend = ltxmem::CpuBackend<>;

std::vector<float> apply(const LinearWeights& weights, const std::vector<float>& x, std::int64_t outputs) {
  Backend backend;
  ltxmem::HostResource resource;
  ltxmem::Arena arena(resource, 1 << 22);
  std::vector<float> y(static_cast<std::size_t>(outputs));
  make_linear<float, Backend>(weights).apply(backend, {x.data(), {1, static_cast<std::int64_t>(x.size())}},
                                             ltxmem::LinearEpilogue<float>{}, {y.data(), {1, outputs}}, arena);
  return y;
}

template <class T>
ltxmem::TensorView<const T, 2> matrix(const std::vector<T>& values, std::int64_t rows) {
  return {values.data(), {rows, static_cast<std::int64_t>(values.size()) / rows}};
}

const std::vector<float> x{1, 2};
const std::vector<float> weight{1, 2, 3, 4, 5, 6};  // [3, 2]
const std::vector<float> bias{10, 20, 30};

}  // namespace

TEST_CASE("Weights become a layer with its bias", "[model_linear]") {
  LinearWeights weights;
  weights.weight = matrix(weight, 3);
  weights.bias = ltxmem::TensorView<const float, 1>(bias.data(), {3});
  CHECK(apply(weights, x, 3) == std::vector<float>{15, 31, 47});
}

TEST_CASE("Weights without a bias become a layer without one", "[model_linear]") {
  LinearWeights weights;
  weights.weight = matrix(weight, 3);
  CHECK(apply(weights, x, 3) == std::vector<float>{5, 11, 17});
}

TEST_CASE("LoRAs are added to a layer with their strengths", "[model_linear]") {
  const std::vector<float> a{1, 1};        // [1, 2]
  const std::vector<float> b{1, 0, -1};    // [3, 1]
  const std::vector<float> c{2, 0, 0, 1};  // [2, 2]
  const std::vector<float> d{1, 0, 0, 1, 1, 1};
  LinearWeights weights;
  weights.weight = matrix(weight, 3);
  weights.loras.push_back({matrix(a, 1), matrix(b, 3), 0.5F});
  weights.loras.push_back({matrix(c, 2), matrix(d, 3), 2.0F});
  CHECK(apply(weights, x, 3) == std::vector<float>{5 + 1.5F + 4, 11 + 4, 17 - 1.5F + 8});
}

TEST_CASE("Eight-bit weights are multiplied by their factor", "[model_linear]") {
  const std::vector<ltxmem::float8_e4m3> small{ltxmem::float8_e4m3(1.0F), ltxmem::float8_e4m3(2.0F)};
  const float factor = 0.25F;
  LinearWeights weights;
  weights.weight = ltxmem::WeightMatrix(matrix(small, 1), &factor);
  CHECK(apply(weights, x, 1) == std::vector<float>{1.25F});
}

TEST_CASE("Eight-bit weights without a factor stand for themselves", "[model_linear]") {
  const std::vector<ltxmem::float8_e4m3> small{ltxmem::float8_e4m3(1.0F), ltxmem::float8_e4m3(2.0F)};
  LinearWeights weights;
  weights.weight = matrix(small, 1);
  CHECK(apply(weights, x, 1) == std::vector<float>{5.0F});
}
