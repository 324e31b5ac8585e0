// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/schedule.hpp"

#include <string>
#include <vector>

#include "check/case.hpp"

namespace ltx2 {

namespace {

std::vector<float> run_schedule(const nlohmann::json& run) {
  const std::string schedule = run.at("schedule");
  if (schedule == "dev") return dev_schedule(run.at("steps"), run.at("tokens"));
  if (schedule == "distilled") return distilled_schedule();
  if (schedule == "distilled_stage2") return distilled_stage2_schedule();
  throw ltxmem::IoError("unknown schedule " + schedule);
}

}  // namespace

HostTensors run_schedule_case(const Case& test, CaseModels&, Runtime&) {
  HostTensors outputs;
  std::size_t index = 0;
  for (const nlohmann::json& run : test.options.at("runs")) {
    std::vector<float> sigmas = run_schedule(run);
    outputs["sigmas." + std::to_string(index++)] = {{static_cast<std::int64_t>(sigmas.size())}, std::move(sigmas)};
  }
  return outputs;
}

}  // namespace ltx2
