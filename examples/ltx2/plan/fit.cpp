// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/fit.hpp"

#include <utility>

namespace ltx2 {

std::optional<ltxmem::DoesNotFit::Details> find_misfit(const Report& plan,
                                                       std::span<const ltxmem::MemoryBudget> budgets) {
  std::optional<ltxmem::DoesNotFit::Details> worst;
  for (const ltxmem::MemoryBudget& budget : budgets) {
    for (const StageReport& stage : plan.stages) {
      auto misfit = ltxmem::find_misfit(stage.at_peak, std::span(&budget, 1));
      if (misfit && (!worst || misfit->need_bytes > worst->need_bytes)) worst = std::move(misfit);
    }
    if (worst) return worst;
  }
  return worst;
}

void adopt_plan(Report& run, const Report& plan) {
  ltxmem::expects<ltxmem::Error>(run.stages.size() == plan.stages.size(), "plan of ", plan.stages.size(),
                                 " stages, the run had ", run.stages.size());
  for (std::size_t i = 0; i < run.stages.size(); ++i) {
    StageReport& stage = run.stages[i];
    const StageReport& planned = plan.stages[i];
    ltxmem::expects<ltxmem::Error>(stage.name == planned.name, "planned stage ", planned.name, ", the run had ",
                                   stage.name);
    stage.planned_peak = planned.planned_peak;
    stage.at_peak = planned.at_peak;
  }
}

std::vector<std::string> planning_defects(const Report& run) {
  std::vector<std::string> defects;
  for (const StageReport& stage : run.stages) {
    for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
      const std::size_t planned = stage.planned_peak[static_cast<std::size_t>(space)];
      const std::size_t measured = stage.measured_peak[static_cast<std::size_t>(space)];
      if (planned == measured) continue;
      defects.push_back(stage.name + ": planned " + std::to_string(planned) + " bytes of " +
                        std::string(memory_space_name(space)) + " memory, used " + std::to_string(measured));
    }
  }
  return defects;
}

bool is_as_planned(const Report& run, const std::function<void(const std::string&)>& warn) {
  const std::vector<std::string> defects = planning_defects(run);
  for (const std::string& defect : defects) warn("a defect of the program: " + defect);
#ifdef NDEBUG
  return true;
#else
  return defects.empty();
#endif
}

}  // namespace ltx2
