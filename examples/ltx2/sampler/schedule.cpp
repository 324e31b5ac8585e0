// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/schedule.hpp"

#include <cmath>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

std::vector<float> dev_schedule(std::int64_t steps, std::int64_t tokens) {
  ltxmem::expects(steps >= 2, "schedule: ", steps, " steps, expected at least 2");
  ltxmem::expects(tokens >= 1, "schedule: ", tokens, " tokens, expected at least 1");
  // The shift is a straight line through 0.95 at 1024 tokens and 2.05 at 4096, and goes on beyond both.
  const double slope = (2.05 - 0.95) / (4096.0 - 1024.0);
  const double shift = std::exp(slope * static_cast<double>(tokens) + (0.95 - slope * 1024.0));
  const auto shifted = [&](std::int64_t k) {
    const double level = 1.0 - static_cast<double>(k) / static_cast<double>(steps);
    return shift / (shift + (1.0 / level - 1.0));
  };
  const double terminal = 0.1;
  const double stretch = (1.0 - shifted(steps - 1)) / (1.0 - terminal);
  std::vector<float> sigmas;
  for (std::int64_t k = 0; k < steps; ++k) sigmas.push_back(static_cast<float>(1.0 - (1.0 - shifted(k)) / stretch));
  sigmas.push_back(0.0F);
  return sigmas;
}

std::vector<float> distilled_schedule() {
  return {1.0F, 0.99375F, 0.9875F, 0.98125F, 0.975F, 0.909375F, 0.725F, 0.421875F, 0.0F};
}

std::vector<float> distilled_stage2_schedule() {
  return {0.909375F, 0.725F, 0.421875F, 0.0F};
}

}  // namespace ltx2
