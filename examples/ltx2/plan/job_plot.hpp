// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "plan/job_plan.hpp"
#include "plan/memory_plot.hpp"

namespace ltx2 {

/// The picture of a planned job, which must have been planned with a device profile and outlive the plot. The budget of
/// device memory, if the plan has one, is drawn as a line.
MemoryPlot job_plot(const JobPlan& plan, std::string title);

}  // namespace ltx2
