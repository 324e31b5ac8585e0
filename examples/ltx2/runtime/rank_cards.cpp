// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/rank_cards.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "runtime/card_backend.hpp"
#include "runtime/card_messages.hpp"
#include "runtime/processes.hpp"

namespace ltx2 {
namespace {

std::size_t least_free_bytes(const std::vector<int>& cards) {
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const int card : cards) least = std::min(least, free_card_memory(card));
  return least;
}

void expect_own_cards(const Settings& settings) {
  const std::vector<int> cards = card_indices(settings);
  const int count = count_cards();
  if (settings.ranks.count > 1) {
    expect_nccl();
    const std::string which =
        cards.size() == 1 ? "CUDA device " + std::to_string(cards.front())
                          : "CUDA devices " + std::to_string(cards.front()) + " to " + std::to_string(cards.back());
    ltxmem::expects<ltxmem::DeviceError>(cards.back() < count, "--device ", device_text(settings.device), " with ",
                                         settings.ranks.count, " ranks takes ", which, ", there are ", count);
  }
  static_cast<void>(least_free_bytes(cards));  // says why one cannot be used
}

}  // namespace

std::vector<int> card_indices(const Settings& settings) {
  const int first = settings.device.index;
  if (const Processes* processes = settings.ranks.processes; processes != nullptr) {
    return {first + processes->place_on_machine()};
  }
  std::vector<int> indices;
  for (int rank = 0; rank < settings.ranks.count; ++rank) indices.push_back(first + rank);
  return indices;
}

void expect_cards(const Settings& settings) {
  if (settings.device.kind == ltxmem::DeviceKind::cpu) return;
  const Processes* processes = settings.ranks.processes;
  if (processes == nullptr) return expect_own_cards(settings);
  std::string complaint;
  try {
    expect_own_cards(settings);
  } catch (const ltxmem::DeviceError& error) {
    complaint = error.what();
  }
  processes->expect_all_can(complaint);
}

std::optional<std::size_t> free_card_bytes(const Settings& settings) {
  if (settings.device.kind == ltxmem::DeviceKind::cpu) return std::nullopt;
  const std::size_t own = least_free_bytes(card_indices(settings));
  const Processes* processes = settings.ranks.processes;
  return processes == nullptr ? own : processes->least(own);
}

}  // namespace ltx2
