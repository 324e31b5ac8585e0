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

/// Looking for settings: the fastest that fit, or what would fit where the given ones do not.

namespace ltx2 {

/// The settings that a search may change.
struct Automatic {
  bool scheme = false;
  bool query_tile = false;
  bool key_tile = false;
  bool ffn_chunk = false;

  bool any() const noexcept { return scheme || query_tile || key_tile || ffn_chunk; }
};

using PlanWith = std::function<JobPlan(const Settings&)>;

/// What a search tries, taking less and less of the device: schemes from E1 to E4, each with smaller and smaller tiles.
/// What is not automatic stays as given.
std::vector<Settings> candidates(const Settings& settings, const Automatic& automatic);

/// The plan that a search decides for, and why it does not fit, if it does not: with what would.
struct Choice {
  JobPlan plan;
  std::optional<ltxmem::DoesNotFit::Details> misfit;
};

/// The plan with the given settings, or, where some are automatic, of all candidates that hold the budgets the fastest
/// by predicted time, the first of several. When none fits, the plan is that of the last one.
Choice choose_plan(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                   const PlanWith& plan_with);

/// The same; throws DoesNotFit, naming step, buffers, shortfall and what would fit.
JobPlan plan_within(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                    const PlanWith& plan_with);

}  // namespace ltx2
