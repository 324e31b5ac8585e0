// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/core/device.hpp"
#include "runtime/report.hpp"

namespace ltx2 {

/// The plan of a whole job: what every stage takes of each memory space, with step and buffers at the peak, what it
/// computes, and how long it takes on a device. Stage by stage it equals the report of the run, to the byte.
struct JobPlan {
  /// planned_peak, at_peak, planned_seconds, operations and parts of each stage; nothing is measured.
  Report report;

  /// The stage that needs most of a space; the first of several. There is at least one stage.
  const StageReport& peak_stage(ltxmem::MemorySpace space) const;
  const ltxmem::MemoryPeak& peak(ltxmem::MemorySpace space) const {
    return peak_stage(space).at_peak[static_cast<std::size_t>(space)];
  }
};

}  // namespace ltx2
