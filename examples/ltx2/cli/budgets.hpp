// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "cli/execution_options.hpp"
#include "ltxmem/memory/budget.hpp"
#include "pipeline/request.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// Kept free of a budget that nobody stated: code, mapped tables, the encoder process, everything that is not planned.
inline constexpr std::size_t default_reserve_bytes = std::size_t{512} << 20;

/// The budgets that the options state; shares of what is free refer to what the machine has available, or card_bytes,
/// the free memory of the fullest card (free_card_bytes). On the CPU also what is left of a limit of the address space
/// (ulimit -v), less the reserve and what threads reserve of it, since libraries that run out of it crash. Throws
/// ShapeError naming the option for a size that is none, or that is zero or leaves nothing
std::vector<ltxmem::MemoryBudget> stated_budgets(const ExecutionOptions& options,
                                                 std::optional<std::size_t> card_bytes = std::nullopt);

/// The same, and what card and machine have available less the reserve in the place of those not stated. On the CPU all
/// memory is the host's, so that its own budget covers every space.
std::vector<ltxmem::MemoryBudget> budgets_of_run(const ExecutionOptions& options,
                                                 std::optional<std::size_t> card_bytes);

/// What each store has free, where that is not stated: of a rank, the device's budget, or without one so much of its
/// card (of a profile); of a card, that of the profile in a plan, in a run what it has free less the reserve.
/// Throws  ShapeError for stores that are not there, or not idle; DeviceError for a card that cannot be used
void free_stores(Settings& settings, const std::vector<ltxmem::MemoryBudget>& budgets,
                 std::optional<std::size_t> profile_bytes = std::nullopt);

/// What the budgets leave of host memory; without one of the host, no end.
std::size_t host_bytes_of(const std::vector<ltxmem::MemoryBudget>& budgets);

/// Throws Failure (does_not_fit) for a clip whose tokens even a plan has no room for: it computes their positions and
/// masks. Beyond that a plan allocates nothing that grows with the clip.
void expect_plannable(const GenerateRequest& request);

/// What a run may take under the stated ones of these budgets (those without a reserve).
MemoryLimits limits_of(const std::vector<ltxmem::MemoryBudget>& budgets);

}  // namespace ltx2
