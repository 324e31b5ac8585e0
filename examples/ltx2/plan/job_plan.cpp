// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/job_plan.hpp"

#include <algorithm>

namespace ltx2 {

const StageReport& JobPlan::peak_stage(ltxmem::MemorySpace space) const {
  const auto index = static_cast<std::size_t>(space);
  ltxmem::expects(!report.stages.empty(), "plan: no stages");
  return *std::max_element(report.stages.begin(), report.stages.end(), [index](const auto& a, const auto& b) {
    return a.planned_peak[index] < b.planned_peak[index];
  });
}

}  // namespace ltx2
