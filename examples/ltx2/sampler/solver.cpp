// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/solver.hpp"

#include <algorithm>
#include <cmath>

namespace ltx2 {

using ltxmem::expects;
using ltxmem::TensorView;

namespace {

template <class Fn>
void for_each_element(const LatentState& state, Fn&& fn) {
  for (std::int64_t t = 0; t < state.tokens(); ++t) {
    for (std::int64_t c = 0; c < state.channels(); ++c) fn(t, c);
  }
}

/// Shifts and scales numbers to mean 0 and unbiased deviation 1.
class Normalised {
 public:
  explicit Normalised(TensorView<const float, 2> x) : x_(x) {
    const auto count = static_cast<double>(x.size());
    double sum = 0;
    for_all([&](double value) { sum += value; });
    mean_ = sum / count;
    double squares = 0;
    for_all([&](double value) { squares += (value - mean_) * (value - mean_); });
    deviation_ = std::sqrt(squares / (count - 1.0));
  }

  double operator()(std::int64_t t, std::int64_t c) const noexcept {
    return (static_cast<double>(x_(t, c)) - mean_) / deviation_;
  }

 private:
  template <class Fn>
  void for_all(Fn&& fn) const {
    for (std::int64_t t = 0; t < x_.extent(0); ++t) {
      for (std::int64_t c = 0; c < x_.extent(1); ++c) fn(static_cast<double>(x_(t, c)));
    }
  }

  TensorView<const float, 2> x_;
  double mean_ = 0;
  double deviation_ = 1;
};

double phi1(double z) {
  return std::expm1(z) / z;
}
double phi2(double z) {
  return (std::expm1(z) - z) / (z * z);
}

}  // namespace

void euler_step(LatentState& state, TensorView<const float, 2> estimate, float sigma, float next) {
  const TensorView<float, 2> latent = state.latent.view();
  const TensorView<const float, 2> clean = state.clean.view();
  for_each_element(state, [&](std::int64_t t, std::int64_t c) {
    const float x0 = blend_clean(estimate(t, c), clean(t, c), state.mask.view()(t));
    const float velocity = (latent(t, c) - x0) / sigma;
    latent(t, c) += velocity * (next - sigma);
  });
}

std::vector<float> res2s_levels(std::vector<float> sigmas) {
  if (!sigmas.empty() && sigmas.back() == 0.0F) {
    sigmas.back() = 0.0011F;
    sigmas.push_back(0.0F);
  }
  return sigmas;
}

Res2sCoefficients::Res2sCoefficients(double from, double to)
    : sigma(from), next(to), middle(std::sqrt(from * to)), h(std::log(from / to)) {
  expects(from > to && to > 0, "res_2s: step from level ", from, " to ", to, ", expected a smaller one above 0");
  const double c2 = 0.5;
  a21 = c2 * phi1(-h * c2);
  b2 = phi2(-h) / c2;
  b1 = phi1(-h) - b2;
}

NoiseInjection::NoiseInjection(double sigma, double next) : sigma_(sigma), next_(next) {
  const double share = 0.5;
  fresh_ = std::min(next * share, next * 0.9999);
  const double residual = std::sqrt(next * next - fresh_ * fresh_);
  kept_ = (1.0 - next) + residual;
  down_ = residual / kept_;
}

double NoiseInjection::operator()(double from, double to, double noise) const noexcept {
  const double direction = (from - to) / (sigma_ - next_);
  const double clean = from - sigma_ * direction;
  return kept_ * (clean + down_ * direction) + fresh_ * noise;
}

void Res2sState::to_midpoint(LatentState& state, const Res2sCoefficients& step, TensorView<const float, 2> estimate,
                             TensorView<const float, 2> noise) {
  const NoiseInjection inject(step.sigma, step.middle);
  const Normalised normal(noise);
  const TensorView<float, 2> latent = state.latent.view();
  const TensorView<const float, 2> clean = state.clean.view();
  const double reach = step.h * step.a21;
  for_each_element(state, [&](std::int64_t t, std::int64_t c) {
    const float mask = state.mask.view()(t);
    const float x0 = blend_clean(estimate(t, c), clean(t, c), mask);
    const auto first = static_cast<double>(x0);
    double anchor = static_cast<double>(latent(t, c));
    double middle = inject(anchor, anchor + reach * (first - anchor), normal(t, c));
    const auto keep = static_cast<double>(mask);
    middle = keep * middle + (1.0 - keep) * static_cast<double>(clean(t, c));
    // The official loop sets anchor = middle - reach * (first - anchor) a hundred times. reach is below a quarter here,
    // so that is its fixed point to the last bit of a double but the rounding.
    if (step.refines_anchor()) anchor = (middle - reach * first) / (1.0 - reach);
    anchor_.view()(t, c) = anchor;
    first_.view()(t, c) = x0;
    latent(t, c) = static_cast<float>(middle);
  });
}

void Res2sState::to_next(LatentState& state, const Res2sCoefficients& step, TensorView<const float, 2> estimate,
                         TensorView<const float, 2> noise) const {
  const NoiseInjection inject(step.sigma, step.next);
  const Normalised normal(noise);
  const TensorView<float, 2> latent = state.latent.view();
  const TensorView<const float, 2> clean = state.clean.view();
  for_each_element(state, [&](std::int64_t t, std::int64_t c) {
    const float mask = state.mask.view()(t);
    const double anchor = anchor_.view()(t, c);
    const double first = static_cast<double>(first_.view()(t, c)) - anchor;
    const double second = static_cast<double>(blend_clean(estimate(t, c), clean(t, c), mask)) - anchor;
    const double next = inject(anchor, anchor + step.h * (step.b1 * first + step.b2 * second), normal(t, c));
    const auto keep = static_cast<double>(mask);
    latent(t, c) = static_cast<float>(keep * next + (1.0 - keep) * static_cast<double>(clean(t, c)));
  });
}

}  // namespace ltx2
