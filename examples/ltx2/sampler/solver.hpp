// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "sampler/conditioning.hpp"

/// One step from a noise level to the next, given the model's estimate of the clean latent. First order (Euler), and
/// second order with noise put back in between (res_2s), the latter in double.
/// Source  docs/ltx2/sampling.md 4; the phi functions are those of exponential integrators, M.
/// Hochbruck
///         and A. Ostermann: Exponential integrators (2010)

namespace ltx2 {

/// A token's estimate where the mask says generate, its clean value where it says keep.
inline float blend_clean(float estimate, float clean, float mask) noexcept {
  return estimate * mask + clean * (1.0F - mask);
}

/// latent += (latent - estimate) / sigma * (next - sigma), the estimate blended with clean first.
void euler_step(LatentState& state, ltxmem::TensorView<const float, 2> estimate, float sigma, float next);

/// Levels that res_2s runs through: a final 0 becomes 0.0011, 0, since its steps divide by the level they reach.
std::vector<float> res2s_levels(std::vector<float> sigmas);

/// Coefficients of the step from sigma to next, both above 0 and the second one smaller.
struct Res2sCoefficients {
  double sigma;
  double next;
  double middle;  ///< geometric mean of the two
  double h;       ///< step size: logarithm of sigma / next
  double a21;
  double b1;
  double b2;

  Res2sCoefficients(double sigma, double next);

  /// Small steps at high noise move the anchor so that the midpoint lies on its own trajectory.
  bool refines_anchor() const noexcept { return h < 0.5 && sigma > 0.03; }
};

/// Mixes noise into a step from sigma to next so that the noise level is next again: half of it is new.
class NoiseInjection {
 public:
  NoiseInjection(double sigma, double next);

  /// from: the value at sigma; to: where the deterministic step ends; noise: standard normal.
  double operator()(double from, double to, double noise) const noexcept;

 private:
  double sigma_;
  double next_;
  double kept_;   ///< factor of everything deterministic
  double down_;   ///< level that the deterministic part goes to
  double fresh_;  ///< factor of the new noise
};

/// One modality in the middle of a res_2s step. Call to_midpoint with the estimate at sigma, then to_next with the
/// estimate at the midpoint; both leave the new latent in the state. Noise is normalised over the whole tensor first.
///
/// Memory  3 * tokens * channels floats
class Res2sState {
 public:
  Res2sState(const HostWork& host, const LatentState& state)
      : anchor_(host.memory("anchor"), state.latent.extents()),
        first_(host.memory("first estimate"), state.latent.extents()) {}

  void to_midpoint(LatentState& state, const Res2sCoefficients& step, ltxmem::TensorView<const float, 2> estimate,
                   ltxmem::TensorView<const float, 2> noise);
  void to_next(LatentState& state, const Res2sCoefficients& step, ltxmem::TensorView<const float, 2> estimate,
               ltxmem::TensorView<const float, 2> noise) const;

 private:
  ltxmem::Tensor<double, 2> anchor_;
  ltxmem::Tensor<float, 2> first_;  ///< estimate at sigma, blended
};

}  // namespace ltx2
