// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/search.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "plan/fit.hpp"

namespace ltx2 {
namespace {

constexpr std::array<std::int64_t, 4> tiles{8192, 4096, 1024, 256};

/// The first candidates that hold the budgets, as options; empty when none does.
std::string first_that_fits(const Settings& settings, std::span<const ltxmem::MemoryBudget> budgets,
                            const PlanWith& plan_with) {
  for (const Settings& candidate : candidates(settings, {true, true, true, true})) {
    if (find_misfit(plan_with(candidate).report, budgets)) continue;
    return "--scheme " + std::string(scheme_name(candidate.scheme)) + " --query-tile " +
           std::to_string(candidate.query_tile) + " --key-tile " + std::to_string(candidate.key_tile) +
           " --ffn-chunk " + std::to_string(candidate.ffn_chunk);
  }
  return {};
}

}  // namespace

std::vector<Settings> candidates(const Settings& settings, const Automatic& automatic) {
  std::vector<Settings> all;
  for (const Scheme scheme : {Scheme::e1, Scheme::e2, Scheme::e3, Scheme::e4}) {
    if (!automatic.scheme && scheme != Scheme::e1) break;
    for (const std::int64_t tile : tiles) {
      Settings candidate = settings;
      if (automatic.scheme) candidate.scheme = scheme;
      if (automatic.query_tile) candidate.query_tile = tile;
      if (automatic.key_tile) candidate.key_tile = tile;
      if (automatic.ffn_chunk) candidate.ffn_chunk = std::min(tile, candidate.query_tile);
      all.push_back(candidate);
      if (!automatic.query_tile && !automatic.key_tile && !automatic.ffn_chunk) break;
    }
  }
  return all;
}

Choice choose_plan(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                   const PlanWith& plan_with) {
  const std::vector<Settings> tried = automatic.any() ? candidates(settings, automatic) : std::vector{settings};
  std::optional<Choice> best;
  for (const Settings& candidate : tried) {
    Choice choice{plan_with(candidate), std::nullopt};
    choice.misfit = find_misfit(choice.plan.report, budgets);
    const bool is_better =
        !best || best->misfit ||
        (!choice.misfit && choice.plan.report.predicted_seconds() < best->plan.report.predicted_seconds());
    if (is_better) best = std::move(choice);
  }
  if (best->misfit) best->misfit->suggestion = first_that_fits(settings, budgets, plan_with);
  return *std::move(best);
}

JobPlan plan_within(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                    const PlanWith& plan_with) {
  Choice choice = choose_plan(settings, automatic, budgets, plan_with);
  if (choice.misfit) throw ltxmem::DoesNotFit(*std::move(choice.misfit));
  return std::move(choice.plan);
}

}  // namespace ltx2
