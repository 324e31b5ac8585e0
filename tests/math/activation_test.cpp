// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/math/activation.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/linear_reference.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

/// Largest error over [-30, 30], relative to max(|reference|, 1e-3).
template <class Function>
double worst_error(Function function, Activation reference) {
  double worst = 0.0;
  for (int i = -300000; i <= 300000; ++i) {
    const float z = static_cast<float>(i) * 1e-4F;
    const double expected = reference_activation(reference, static_cast<double>(z));
    worst = std::max(worst, std::abs(static_cast<double>(function(z)) - expected) / std::max(std::abs(expected), 1e-3));
  }
  return worst;
}

}  // namespace

TEST_CASE("activation: the exponential is accurate over its whole range") {
  double worst = 0.0;
  for (int i = -870000; i <= 870000; i += 7) {
    const float x = static_cast<float>(i) * 1e-4F;
    const double expected = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(detail::exponential(x)) - expected) / expected);
  }
  CHECK(worst < 2e-7);
  CHECK(detail::exponential(0.0F) == 1.0F);
}

TEST_CASE("activation: gelu, silu and the gate match their formulas") {
  CHECK(worst_error(gelu_tanh, Activation::gelu_tanh) < 3e-6);
  CHECK(worst_error(silu, Activation::silu) < 1e-6);
  CHECK(worst_error(twice_sigmoid, Activation::twice_sigmoid) < 1e-6);
}

TEST_CASE("activation: exact where the formula is simple") {
  CHECK(gelu_tanh(0.0F) == 0.0F);
  CHECK(silu(0.0F) == 0.0F);
  CHECK(twice_sigmoid(0.0F) == 1.0F);
  CHECK(gelu_tanh(50.0F) == 50.0F);
  CHECK(silu(1e6F) == 1e6F);
  CHECK(twice_sigmoid(100.0F) == 2.0F);
}

TEST_CASE("activation: large arguments stay finite and small on the negative side") {
  for (const float z : {-20.0F, -1e4F, -1e18F}) {
    CAPTURE(z);
    CHECK(std::abs(gelu_tanh(z)) < 1e-12F);
    CHECK(std::abs(silu(z)) < 1e-7F);
    CHECK(std::isfinite(twice_sigmoid(z)));
  }
  CHECK(gelu_tanh(1e18F) == 1e18F);
}

TEST_CASE("activation: NaN stays NaN and an infinite argument saturates") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(std::isnan(gelu_tanh(nan)));
  CHECK(std::isnan(silu(-nan)));
  CHECK(std::isnan(twice_sigmoid(nan)));
  CHECK(gelu_tanh(infinity) == infinity);
  CHECK(twice_sigmoid(infinity) == 2.0F);
  CHECK(twice_sigmoid(-infinity) < 1e-30F);
}
