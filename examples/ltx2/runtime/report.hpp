// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/record.hpp"
#include "ltxmem/core/device.hpp"
#include "runtime/settings.hpp"

namespace ltx2 {

/// Bytes per memory space, indexed by ltxmem::MemorySpace.
using SpaceBytes = std::array<std::size_t, ltxmem::memory_spaces.size()>;

/// One stage of a run: what the dry run said it would take and what it took.
struct StageReport {
  std::string name;
  SpaceBytes planned_peak{};
  SpaceBytes measured_peak{};
  double seconds = 0;
  ltxmem::Record::Totals operations;
};

/// Everything that --report writes. Peaks of the whole run are the maxima over its stages.
struct Report {
  std::string command;
  Settings settings;
  std::size_t mapped_bytes = 0;  ///< weight files, mapped and used in place
  std::vector<StageReport> stages;
  std::vector<std::string> warnings;

  SpaceBytes planned_peak() const;
  SpaceBytes measured_peak() const;
  double seconds() const;
};

nlohmann::ordered_json to_json(const Report& report);

}  // namespace ltx2
