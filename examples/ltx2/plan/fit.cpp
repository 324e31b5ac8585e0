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
      auto at_peak = stage.at_peak;
      // Where the devices are the host's own memory, those of all ranks count.
      if (budget.spaces.size() > 1 && budget.spaces.front() == ltxmem::MemorySpace::device && !stage.ranks.empty()) {
        ltxmem::MemoryPeak& devices = at_peak[static_cast<std::size_t>(ltxmem::MemorySpace::device)];
        devices.bytes = 0;
        for (const RankReport& rank : stage.ranks) devices.bytes += rank.planned_peak;
      }
      auto misfit = ltxmem::find_misfit(at_peak, std::span(&budget, 1));
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
    // Times of another device than the one that ran would be guesses.
    if (!run.device_profile.empty()) stage.planned_seconds = planned.planned_seconds;
    ltxmem::expects<ltxmem::Error>(stage.ranks.size() == planned.ranks.size(), "planned ", planned.ranks.size(),
                                   " ranks in stage ", stage.name, ", the run had ", stage.ranks.size());
    for (std::size_t rank = 0; rank < stage.ranks.size(); ++rank) {
      stage.ranks[rank].planned_peak = planned.ranks[rank].planned_peak;
      stage.ranks[rank].planned_message_bytes = planned.ranks[rank].planned_message_bytes;
      if (!run.device_profile.empty()) stage.ranks[rank].planned_seconds = planned.ranks[rank].planned_seconds;
    }
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
    for (std::size_t rank = 0; rank < stage.ranks.size(); ++rank) {
      const RankReport& report = stage.ranks[rank];
      const std::string where = stage.name + ", rank " + std::to_string(rank) + ": planned ";
      if (report.planned_peak != report.measured_peak) {
        defects.push_back(where + std::to_string(report.planned_peak) + " bytes of its device, used " +
                          std::to_string(report.measured_peak));
      }
      if (report.planned_message_bytes != report.measured_message_bytes) {
        defects.push_back(where + std::to_string(report.planned_message_bytes) + " bytes of messages, sent " +
                          std::to_string(report.measured_message_bytes));
      }
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
