// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/suggest.hpp"

#include <array>

#include "plan/fit.hpp"

namespace ltx2 {

std::vector<Settings> smaller_settings(const Settings& settings) {
  constexpr std::array<std::int64_t, 3> tiles{4096, 1024, 256};
  std::vector<Settings> smaller;
  for (const Scheme scheme : {Scheme::e1, Scheme::e2, Scheme::e3, Scheme::e4}) {
    for (const std::int64_t tile : tiles) {
      Settings candidate = settings;
      candidate.scheme = scheme;
      candidate.query_tile = candidate.ffn_chunk = tile;
      candidate.key_tile = 2 * tile;
      candidate.saved_prefix.reset();
      smaller.push_back(candidate);
    }
  }
  return smaller;
}

std::string first_that_fits(const Settings& settings, std::span<const ltxmem::MemoryBudget> budgets,
                            const PlanWith& plan_with) {
  for (const Settings& candidate : smaller_settings(settings)) {
    if (find_misfit(plan_with(candidate).report, budgets)) continue;
    return "--scheme " + std::string(scheme_name(candidate.scheme)) + " --query-tile " +
           std::to_string(candidate.query_tile) + " --key-tile " + std::to_string(candidate.key_tile) +
           " --ffn-chunk " + std::to_string(candidate.ffn_chunk);
  }
  return {};
}

void expects_fit(const JobPlan& plan, std::span<const ltxmem::MemoryBudget> budgets, const PlanWith& plan_with) {
  auto misfit = find_misfit(plan.report, budgets);
  if (!misfit) return;
  misfit->suggestion = first_that_fits(plan.report.settings, budgets, plan_with);
  throw ltxmem::DoesNotFit(*std::move(misfit));
}

}  // namespace ltx2
