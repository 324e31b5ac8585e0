// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

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
  bool weights = false;  ///< stay where the device reads files, else stream
  bool saved_prefix = false;
  bool decode_tile = false;
  bool ulysses_degree = false;
  std::int64_t resident_blocks = 0;  ///< at most so many streamed blocks may stay on the device; 0: as given
  std::int64_t stored_blocks = 0;    ///< likewise in the stores, if there are any

  static Automatic everything(std::int64_t resident) {
    return {true, true, true, true, true, true, true, false, resident, 0};
  }
};

using PlanWith = std::function<JobPlan(const Settings&)>;

/// The plan that a search decides for, and why it does not fit, if it does not: with what would.
struct Choice {
  JobPlan plan;
  std::optional<ltxmem::DoesNotFit::Details> misfit;
};

/// The plan with the given settings, or, where some are automatic, the fastest by predicted time of those tried that
/// hold the budgets. When none does, the plan is that which lacks least.
///
/// Stages need their peaks independently, so the decoder's tiles are settled by the decoding stage alone: the largest
/// with which it fits, or where none does, those with which it lacks least. Of a scheme the largest tiles that fit are
/// taken, then the place for the saved prefix if it saves time, and what is left of the budgets goes to resident
/// blocks. The schemes follow from E1, which computes and moves least: no more are tried once the best is near E1 with
/// room for everything. Ulysses degrees are searched one after the other. No settings are planned twice, also not for a
/// refusal's suggestion. At last, streamed blocks fill what the plan leaves of the stores.
Choice choose_plan(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                   const PlanWith& plan_with);

/// The same; throws DoesNotFit, naming step, buffers, shortfall and what would fit.
JobPlan plan_within(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                    const PlanWith& plan_with);

}  // namespace ltx2
