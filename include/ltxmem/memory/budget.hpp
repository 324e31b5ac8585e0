// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltxmem/core/device.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/memory_observer.hpp"

/// Budgets: what a plan may use of a memory, and what to say when it does not fit.

namespace ltxmem {

/// Bytes that the given spaces may use together, of which reserve_bytes are kept for what is not planned (a driver's
/// own memory, library code).
struct MemoryBudget {
  std::string name;  ///< "device", "host": what the user calls it
  std::vector<MemorySpace> spaces;
  std::size_t bytes = 0;
  std::size_t reserve_bytes = 0;

  /// What the reserve leaves to plans.
  std::size_t plannable_bytes() const noexcept { return bytes - std::min(bytes, reserve_bytes); }
};

/// A plan that needs more than a budget has. Thrown before any work begins.
class DoesNotFit : public Error {
 public:
  /// What is known of the misfit. The peak is that of the space which needs most of the budget.
  struct Details {
    MemoryBudget budget;
    MemoryPeak peak;
    std::size_t need_bytes = 0;  ///< planned peaks of the budget's spaces and the reserve
    std::string suggestion;      ///< the first settings that would fit; empty: none known
  };

  explicit DoesNotFit(Details details) : Error(message(details)), details_(std::move(details)) {}

  const Details& details() const noexcept { return details_; }
  MemorySpace space() const noexcept { return details_.peak.space; }
  std::size_t need_bytes() const noexcept { return details_.need_bytes; }
  std::size_t budget_bytes() const noexcept { return details_.budget.bytes; }
  std::size_t shortfall_bytes() const noexcept { return details_.need_bytes - details_.budget.bytes; }

 private:
  static std::string message(const Details& details) {
    const MemoryBudget& budget = details.budget;
    std::string text = "does not fit the " + budget.name + " budget: needs " + std::to_string(details.need_bytes) +
                       " bytes of " + std::to_string(budget.bytes) + ", " +
                       std::to_string(details.need_bytes - budget.bytes) + " too many";
    if (budget.reserve_bytes > 0) text += " (" + std::to_string(budget.reserve_bytes) + " in reserve)";
    text += "; peak of " + std::string(memory_space_name(details.peak.space)) + " memory " +
            std::to_string(details.peak.bytes) + " bytes";
    if (!details.peak.step.empty()) text += " in " + details.peak.step;
    for (std::size_t i = 0; i < details.peak.buffers.size(); ++i) {
      const BufferSum& buffer = details.peak.buffers[i];
      text += (i == 0 ? ": " : ", ") + buffer.name + " " + std::to_string(buffer.bytes);
      if (buffer.count > 1) text += " (" + std::to_string(buffer.count) + " buffers)";
    }
    if (!details.suggestion.empty()) text += "; would fit: " + details.suggestion;
    return text;
  }

  Details details_;
};

/// Why planned peaks break a budget, or nothing when every budget holds. Spaces that share a budget are added up, since
/// a run holds a workspace of the peak of each for its whole length. No two entries of peaks name the same space.
inline std::optional<DoesNotFit::Details> find_misfit(std::span<const MemoryPeak> peaks,
                                                      std::span<const MemoryBudget> budgets) {
  for (const MemoryBudget& budget : budgets) {
    DoesNotFit::Details details{budget, {}, budget.reserve_bytes, {}};
    const auto add = [](std::size_t a, std::size_t b) {
      return a > static_cast<std::size_t>(-1) - b ? static_cast<std::size_t>(-1) : a + b;
    };
    for (const MemorySpace space : budget.spaces) {
      for (const MemoryPeak& peak : peaks) {
        if (peak.space != space) continue;
        details.need_bytes = add(details.need_bytes, peak.bytes);
        if (peak.bytes >= details.peak.bytes) details.peak = peak;
      }
    }
    if (details.need_bytes > budget.bytes) return details;
  }
  return std::nullopt;
}

/// Throws DoesNotFit unless every budget holds.
inline void expects_fit(std::span<const MemoryPeak> peaks, std::span<const MemoryBudget> budgets,
                        std::string_view suggestion = {}) {
  std::optional<DoesNotFit::Details> misfit = find_misfit(peaks, budgets);
  if (!misfit) return;
  misfit->suggestion = suggestion;
  throw DoesNotFit(std::move(*misfit));
}

}  // namespace ltxmem
