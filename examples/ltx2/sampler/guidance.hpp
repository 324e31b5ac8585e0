// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "ltxmem/core/tensor_view.hpp"

/// Guidance of the full model: which passes of the model a step needs and how their predictions are combined.
/// Source  docs/ltx2/sampling.md 5

namespace ltx2 {

/// Strengths for one modality; the defaults are no guidance at all.
struct ModalityGuidance {
  float cfg = 1.0F;       ///< away from the negative prompt
  float stg = 0.0F;       ///< away from the prediction without self-attention in stg_blocks
  float modality = 1.0F;  ///< away from the prediction without the other modality
  float rescale = 0.0F;   ///< how far the guided prediction gets back the deviation of the plain one
  std::vector<std::int64_t> stg_blocks;
  std::int64_t skip_step = 0;  ///< predict anew only every skip_step + 1 steps

  bool predicts_at(std::int64_t step) const noexcept { return step % (skip_step + 1) == 0; }
};

struct Guidance {
  ModalityGuidance video;
  ModalityGuidance audio;
};

/// One evaluation of the model; all see the same noisy latents.
enum class Pass : std::uint8_t {
  conditional,    ///< positive context
  unconditional,  ///< negative context
  perturbed,      ///< positive context, self-attention skipped in some blocks
  isolated,       ///< positive context, both cross-modal attentions skipped in all blocks
};

/// How much of (conditional - pass) is added to the conditional prediction; 0 for the conditional pass itself.
float guidance_weight(const ModalityGuidance& guidance, Pass pass) noexcept;

/// What one step evaluates: which modalities are predicted anew, and the passes, the conditional one first. A pass
/// that no predicted modality weighs is left out; nothing to predict means no pass.
struct StepPlan {
  bool video = true;
  bool audio = true;
  std::vector<Pass> passes;
};
StepPlan plan_step(const Guidance& guidance, std::int64_t step);

/// So many first blocks compute the same in the conditional and in the perturbed pass; 0 without a perturbed pass.
std::int64_t shared_blocks(const Guidance& guidance);

/// Unbiased standard deviation over all elements, summed in double in row-major order.
double standard_deviation(ltxmem::TensorView<const float, 2> x);

/// guided *= rescale * deviation(conditional) / deviation(guided) + (1 - rescale)
void rescale_guided(float rescale, ltxmem::TensorView<const float, 2> conditional, ltxmem::TensorView<float, 2> guided);

}  // namespace ltx2
