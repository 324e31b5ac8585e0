// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/bound.hpp"
#include "ltxmem/backend/dry_run/record.hpp"
#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/core/device.hpp"
#include "ltxmem/memory/budget.hpp"
#include "runtime/settings.hpp"

namespace ltx2 {

/// Bytes per memory space, indexed by ltxmem::MemorySpace.
using SpaceBytes = std::array<std::size_t, ltxmem::memory_spaces.size()>;

/// Seconds by what they went to, indexed by ltxmem::Bound.
using SecondsByBound = std::array<double, ltxmem::bounds.size()>;

/// What one body does, as a dry run saw it, and when: what a picture of memory is drawn from (ltxmem::memory_series).
struct PlannedWork {
  ltxmem::Record record;
  ltxmem::Record::Totals operations;
  ltxmem::Replay replay;  ///< empty: no device profile was given
};

/// One execution of a body, in order; equal ones share their work.
struct PlannedPart {
  std::shared_ptr<const PlannedWork> work;
  /// What is in use beside the body's own buffers all the while (host tensors), per space.
  std::array<std::vector<ltxmem::BufferSum>, ltxmem::memory_spaces.size()> held;
};

/// One of several ranks: in a stage that they share, or in a run.
struct RankReport {
  std::size_t planned_peak = 0;  ///< of its device
  std::size_t measured_peak = 0;
  std::int64_t planned_message_bytes = 0;  ///< of each exchange the longer direction
  std::int64_t measured_message_bytes = 0;
  double planned_seconds = 0;  ///< of what the ranks share; 0: no device profile was given

  friend bool operator==(const RankReport&, const RankReport&) = default;
};

/// What a stage takes of one of the stores.
struct StoreReport {
  std::size_t measured_peak = 0;
  ltxmem::MemoryPeak planned;  ///< with its buffers in a plan
};

/// One stage of a run: what the dry run said it would take and what it took.
struct StageReport {
  std::string name;
  SpaceBytes planned_peak{};  ///< of device memory, that of the rank which needs most, stores apart; else all ranks'
  SpaceBytes measured_peak{};
  std::vector<RankReport> ranks;                                         ///< empty where there is one
  std::vector<StoreReport> stores;                                       ///< as the settings list them
  std::array<ltxmem::MemoryPeak, ltxmem::memory_spaces.size()> at_peak;  ///< step and buffers of each planned peak
  SecondsByBound planned_seconds{};                                      ///< all zero: no device profile was given
  double seconds = 0;
  ltxmem::Record::Totals operations;  ///< of all ranks
  std::vector<PlannedPart> parts;     ///< of a dry run; of several ranks, the first

  double predicted_seconds() const;
  /// The planned peaks of some spaces together, as a run holds them.
  std::size_t planned_bytes(std::span<const ltxmem::MemorySpace> spaces) const;
};

/// Everything that --report writes. Peaks of the whole run are the maxima over its stages.
struct Report {
  std::string command;
  bool is_plan = false;  ///< nothing was run: there are no measured values
  Settings settings;
  std::vector<ltxmem::MemoryBudget> budgets;  ///< in force
  bool fits = true;                           ///< all of them
  std::string device_profile;                 ///< of a plan with times
  std::size_t mapped_bytes = 0;               ///< weight files, mapped and used in place
  std::vector<StageReport> stages;
  std::vector<std::string> warnings;

  SpaceBytes planned_peak() const;
  /// The stage that is planned to need most of a space, the first of several; null without stages.
  const StageReport* peak_stage(ltxmem::MemorySpace space) const;
  SpaceBytes measured_peak() const;
  /// Of every rank its largest peak, and the sums of the rest; empty where one rank works alone.
  std::vector<RankReport> ranks() const;
  /// Of every store its largest peak.
  std::vector<StoreReport> stores() const;
  double seconds() const;            ///< measured
  double predicted_seconds() const;  ///< 0 without a device profile
};

/// By the names of their options.
nlohmann::ordered_json to_json(const Settings& settings);

nlohmann::ordered_json to_json(const Report& report);

}  // namespace ltx2
