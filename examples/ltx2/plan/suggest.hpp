// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ltxmem/memory/budget.hpp"
#include "plan/job_plan.hpp"
#include "runtime/settings.hpp"

/// Other settings for a job that does not fit as it is.

namespace ltx2 {

/// Settings that take less and less of the device: schemes from E1 to E4, each with smaller and smaller tiles. The
/// dtype and where weights are stay as given.
std::vector<Settings> smaller_settings(const Settings& settings);

using PlanWith = std::function<JobPlan(const Settings&)>;

/// The first of the smaller settings whose plan holds the budgets, as options; empty when none does.
std::string first_that_fits(const Settings& settings, std::span<const ltxmem::MemoryBudget> budgets,
                            const PlanWith& plan_with);

/// Throws DoesNotFit, naming step, buffers, shortfall and what would fit, unless the plan holds the budgets.
void expects_fit(const JobPlan& plan, std::span<const ltxmem::MemoryBudget> budgets, const PlanWith& plan_with);

}  // namespace ltx2
