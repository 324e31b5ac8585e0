// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "runtime/settings.hpp"

/// Which rank has which card: rank r that of --device and r more, process by process the card of --device and as many
/// more as processes of a lower rank run on the same machine.

namespace ltx2 {

/// The cards of the ranks of this process, in their order.
std::vector<int> card_indices(const Settings& settings);

/// Throws, before any work, unless the device that computes can be used by all ranks; every process calls it. Says in
/// one sentence what is missing: DeviceError for a driver or cards, RankError that names the process without one,
/// ShapeError for several cards in a build without NCCL.
void expect_cards(const Settings& settings);

/// What the fullest card of any rank has free, in bytes; nothing for the processor. Every process calls it.
std::optional<std::size_t> free_card_bytes(const Settings& settings);

}  // namespace ltx2
