// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/solver.hpp"

#include <cmath>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

using ltxmem::TensorView;

namespace {

/// Two audio tokens of two channels; the second token is kept at 5.
struct TwoTokens {
  ltxmem::HostResource host;
  std::vector<float> estimate{1, 2, 3, 4};
  std::vector<float> noise{0.5F, -1, 2, 0.25F};
  ltx2::LatentState state = ltx2::make_audio_state(host, 2, 2, {});

  TwoTokens() {
    state.mask.view()(1) = 0;
    for (int c = 0; c < 2; ++c) {
      state.clean.view()(1, c) = 5;
      state.latent.view()(0, c) = 3;
      state.latent.view()(1, c) = 5;
    }
  }
  TensorView<const float, 2> estimates() const { return {estimate.data(), {2, 2}}; }
  TensorView<const float, 2> noises() const { return {noise.data(), {2, 2}}; }
};

}  // namespace

TEST_CASE_METHOD(TwoTokens, "An Euler step moves along the line to the estimate and holds kept tokens") {
  ltx2::euler_step(state, estimates(), 0.8F, 0.6F);
  CHECK(state.latent.view()(0, 0) == Approx(3 + (3 - 1) / 0.8 * (0.6 - 0.8)));
  CHECK(state.latent.view()(1, 0) == 5.0F);
}

TEST_CASE_METHOD(TwoTokens, "An Euler step to level 0 ends at the estimate") {
  ltx2::euler_step(state, estimates(), 0.4F, 0.0F);
  CHECK(state.latent.view()(0, 1) == Approx(2));
}

TEST_CASE("res_2s has the documented coefficients") {
  const ltx2::Res2sCoefficients step(std::exp(0.1), 1.0);
  CHECK(step.h == Approx(0.1));
  CHECK(step.a21 == Approx(0.487706).margin(5e-7));
  CHECK(step.b1 == Approx(-0.015858).margin(5e-7));
  CHECK(step.b2 == Approx(0.967484).margin(5e-7));
  CHECK(step.middle == Approx(std::exp(0.05)));
}

TEST_CASE("The anchor is refined in small steps at high noise only") {
  CHECK(ltx2::Res2sCoefficients(0.5, 0.4).refines_anchor());
  CHECK_FALSE(ltx2::Res2sCoefficients(0.5, 0.25).refines_anchor());
  CHECK_FALSE(ltx2::Res2sCoefficients(0.03, 0.025).refines_anchor());
}

TEST_CASE("res_2s takes no step to level 0 or upwards") {
  CHECK_THROWS_AS(ltx2::Res2sCoefficients(0.5, 0.0), ltxmem::ShapeError);
  CHECK_THROWS_AS(ltx2::Res2sCoefficients(0.5, 0.6), ltxmem::ShapeError);
}

TEST_CASE("A final level of 0 is reached from 0.0011 in res_2s") {
  CHECK(ltx2::res2s_levels({1.0F, 0.5F, 0.0F}) == std::vector<float>{1.0F, 0.5F, 0.0011F, 0.0F});
  CHECK(ltx2::res2s_levels({1.0F, 0.5F}) == std::vector<float>{1.0F, 0.5F});
}

TEST_CASE("Noise injection keeps a consistent pair at its noise level") {
  // Both ends on one trajectory x = (1 - s) x0 + s n. The deterministic share must be (1 - next) x0 + residual n, so
  // that with fresh noise the total noise is of size next again.
  const double x0 = 0.7;
  const double n = -1.3;
  const auto at = [&](double level) { return (1 - level) * x0 + level * n; };
  const ltx2::NoiseInjection inject(0.8, 0.6);
  const double fresh = 0.5 * 0.6;
  const double residual = std::sqrt(0.6 * 0.6 - fresh * fresh);
  CHECK(inject(at(0.8), at(0.6), 0.0) ==
        Approx((0.4 + residual) * x0 * (1 - residual / (0.4 + residual)) + residual * n));
  CHECK(inject(at(0.8), at(0.6), 1.0) - inject(at(0.8), at(0.6), 0.0) == Approx(fresh));
}

TEST_CASE_METHOD(TwoTokens, "res_2s normalises its noise, so shifting and scaling it changes nothing") {
  const ltx2::Res2sCoefficients step(0.9, 0.5);
  ltx2::Res2sState solver(host, state);
  solver.to_midpoint(state, step, estimates(), noises());
  TwoTokens other;
  for (float& x : other.noise) x = 3 * x + 4;
  ltx2::Res2sState other_solver(other.host, other.state);
  other_solver.to_midpoint(other.state, step, other.estimates(), other.noises());
  CHECK(other.state.latent.view()(0, 0) == Approx(state.latent.view()(0, 0)));
  CHECK(other.state.latent.view()(0, 1) == Approx(state.latent.view()(0, 1)));
  CHECK(state.latent.view()(0, 0) != state.latent.view()(0, 1));
}

TEST_CASE_METHOD(TwoTokens, "res_2s agrees with its formulas written out for one element") {
  for (const bool refine : {false, true}) {
    TwoTokens run;
    const ltx2::Res2sCoefficients step(0.9, refine ? 0.7 : 0.5);
    REQUIRE(step.refines_anchor() == refine);
    ltx2::Res2sState solver(run.host, run.state);
    const double mean = (0.5 - 1 + 2 + 0.25) / 4;
    double squares = 0;
    for (const float x : noise) squares += (x - mean) * (x - mean);
    const double z = (0.5 - mean) / std::sqrt(squares / 3);
    const auto inject = [&](double from, double to, double s, double t) {
      const double up = 0.5 * t;
      const double residual = std::sqrt(t * t - up * up);
      const double alpha = 1 - t + residual;
      const double eps = (from - to) / (s - t);
      return alpha * (from - s * eps + residual / alpha * eps) + up * z;
    };
    double anchor = 3;
    const double d1 = 1;
    const double middle = inject(anchor, anchor + step.h * step.a21 * (d1 - anchor), step.sigma, step.middle);
    if (refine) {
      for (int i = 0; i < 100; ++i) anchor = middle - step.h * step.a21 * (d1 - anchor);
    }
    solver.to_midpoint(run.state, step, run.estimates(), run.noises());
    CHECK(run.state.latent.view()(0, 0) == Approx(middle));
    CHECK(run.state.latent.view()(1, 0) == 5.0F);

    run.estimate[0] = 1.5F;
    const double next = anchor + step.h * (step.b1 * (d1 - anchor) + step.b2 * (1.5 - anchor));
    solver.to_next(run.state, step, run.estimates(), run.noises());
    CHECK(run.state.latent.view()(0, 0) == Approx(inject(anchor, next, step.sigma, step.next)));
    CHECK(run.state.latent.view()(1, 1) == 5.0F);
  }
}
