// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/job_plot.hpp"

#include <utility>

namespace ltx2 {

MemoryPlot job_plot(const JobPlan& plan, std::string title) {
  MemoryPlot plot{std::move(title), {}, {}};
  for (const StageReport& stage : plan.report.stages) {
    PlottedStage plotted{stage.name, {}, stage.at_peak};
    for (const PlannedPart& part : stage.parts) {
      plotted.parts.push_back({&part.work->record, &part.work->replay, part.held});
    }
    plot.stages.push_back(std::move(plotted));
  }
  for (const ltxmem::MemoryBudget& budget : plan.report.budgets) {
    if (budget.spaces.size() != 1) continue;  // a line needs one lane
    plot.budget_bytes[static_cast<std::size_t>(budget.spaces[0])] = budget.plannable_bytes();
  }
  return plot;
}

}  // namespace ltx2
