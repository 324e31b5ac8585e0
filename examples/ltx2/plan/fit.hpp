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

/// A plan against budgets, and against the run that followed it.

namespace ltx2 {

/// Why stages of a plan need more of a store than it has free, or break a budget, or nothing. Of several stages that do
/// it is the one which needs most.
std::optional<ltxmem::DoesNotFit::Details> find_misfit(std::span<const StageReport> stages, const Settings& settings,
                                                       std::span<const ltxmem::MemoryBudget> budgets);
/// The same of all its stages.
std::optional<ltxmem::DoesNotFit::Details> find_misfit(const Report& plan,
                                                       std::span<const ltxmem::MemoryBudget> budgets);

/// That nothing of a plan leaves the device, although there are stores for it; or no warning.
std::vector<std::string> store_warnings(const Report& plan);

/// What the plan of a run says of its stages becomes part of the run's report. Error when they are not the same stages.
void adopt_plan(Report& run, const Report& plan);

/// Every stage and space of a finished run whose counted peak is not the planned one, in words.
std::vector<std::string> planning_defects(const Report& run);

/// Warns of each of them; false when there are any in a build with assertions, where they fail the run.
bool is_as_planned(const Report& run, const std::function<void(const std::string&)>& warn);

}  // namespace ltx2
