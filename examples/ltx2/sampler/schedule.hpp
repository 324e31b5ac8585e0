// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

/// Noise levels of a sampling run, from 1 (noise alone) downwards; n steps have n + 1 levels, the last one 0.
/// Source  docs/ltx2/sampling.md 3

namespace ltx2 {

/// The token count that the one-stage and two-stage pipelines use for every resolution.
inline constexpr std::int64_t default_schedule_tokens = 4096;

/// Schedule of the full model: uniform levels, shifted towards noise by an amount that grows with the token count, then
/// stretched so that the last level before 0 is 0.1. ShapeError for fewer than two steps or no tokens.
std::vector<float> dev_schedule(std::int64_t steps, std::int64_t tokens = default_schedule_tokens);

/// The fixed levels that distilled models were trained for: 8 steps at the first resolution, 3 at the second.
std::vector<float> distilled_schedule();
std::vector<float> distilled_stage2_schedule();

}  // namespace ltx2
