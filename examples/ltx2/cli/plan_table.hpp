// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "pipeline/request.hpp"
#include "plan/job_plan.hpp"

namespace ltx2 {

/// What a user should know before a run: clips longer than the model was trained on, predicted times of days.
std::vector<std::string> plan_warnings(const GenerateRequest& request, const Report& plan);

/// "41 s", "12.5 min", "3.2 h", "2.1 days".
std::string duration_text(double seconds);

/// The plan as a table on standard output: stages, the buffers at the peak of each memory space, and from which query
/// tile on the profile's link is hidden.
void print_plan(const GenerateRequest& request, const JobPlan& plan, const ltxmem::DeviceProfile& profile);

}  // namespace ltx2
