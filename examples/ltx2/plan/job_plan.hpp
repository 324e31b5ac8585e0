// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/core/device.hpp"
#include "ltxmem/core/error.hpp"
#include "runtime/report.hpp"

namespace ltx2 {

/// The plan of a whole job: what every stage takes of each memory space, with step and buffers at the peak, what it
/// computes, and how long it takes on a device. Stage by stage it equals the report of the run, to the byte.
struct JobPlan {
  /// planned_peak, at_peak, planned_seconds, operations and parts of each stage; nothing is measured.
  Report report;

  /// Step and buffers where most of a space is needed. There is at least one stage.
  const ltxmem::MemoryPeak& peak(ltxmem::MemorySpace space) const {
    const StageReport* stage = report.peak_stage(space);
    ltxmem::expects(stage != nullptr, "plan: no stages");
    return stage->at_peak[static_cast<std::size_t>(space)];
  }
};

}  // namespace ltx2
