// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/guidance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ltx2 {

float guidance_weight(const ModalityGuidance& guidance, Pass pass) noexcept {
  switch (pass) {
    case Pass::conditional: return 0.0F;
    case Pass::unconditional: return guidance.cfg - 1.0F;
    case Pass::perturbed: return guidance.stg;
    case Pass::isolated: return guidance.modality - 1.0F;
  }
  return 0.0F;
}

StepPlan plan_step(const Guidance& guidance, std::int64_t step) {
  StepPlan plan{guidance.video.predicts_at(step), guidance.audio.predicts_at(step), {}};
  if (!plan.video && !plan.audio) return plan;
  plan.passes.push_back(Pass::conditional);
  for (const Pass pass : {Pass::unconditional, Pass::perturbed, Pass::isolated}) {
    const bool needed = (plan.video && guidance_weight(guidance.video, pass) != 0.0F) ||
                        (plan.audio && guidance_weight(guidance.audio, pass) != 0.0F);
    if (needed) plan.passes.push_back(pass);
  }
  return plan;
}

std::int64_t shared_blocks(const Guidance& guidance) {
  constexpr std::int64_t all = std::numeric_limits<std::int64_t>::max();
  std::int64_t first = all;
  for (const ModalityGuidance& modality : {guidance.video, guidance.audio}) {
    if (modality.stg == 0.0F) continue;
    for (const std::int64_t block : modality.stg_blocks) first = std::min(first, block);
  }
  return first == all ? 0 : first;
}

double standard_deviation(ltxmem::TensorView<const float, 2> x) {
  const auto count = static_cast<double>(x.size());
  double sum = 0;
  for (std::int64_t t = 0; t < x.extent(0); ++t) {
    for (std::int64_t c = 0; c < x.extent(1); ++c) sum += static_cast<double>(x(t, c));
  }
  const double mean = sum / count;
  double squares = 0;
  for (std::int64_t t = 0; t < x.extent(0); ++t) {
    for (std::int64_t c = 0; c < x.extent(1); ++c) {
      const double deviation = static_cast<double>(x(t, c)) - mean;
      squares += deviation * deviation;
    }
  }
  return std::sqrt(squares / (count - 1.0));
}

void rescale_guided(float rescale, ltxmem::TensorView<const float, 2> conditional,
                    ltxmem::TensorView<float, 2> guided) {
  const auto ratio = static_cast<float>(standard_deviation(conditional) / standard_deviation(guided));
  const float factor = rescale * ratio + (1.0F - rescale);
  for (std::int64_t t = 0; t < guided.extent(0); ++t) {
    for (std::int64_t c = 0; c < guided.extent(1); ++c) guided(t, c) *= factor;
  }
}

}  // namespace ltx2
