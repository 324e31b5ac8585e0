// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime.hpp"

#include <utility>

namespace ltx2 {

using ltxmem::MemorySpace;

Runtime::Runtime(const Settings& settings, std::stop_token stop, const MemoryLimits& limits)
    : device_limit_(host_resource_, limits.device, "device budget"),
      host_limit_(host_resource_, limits.host, "host budget"),
      ledgers_{Ledger(MemorySpace::device, device_limit_), Ledger(MemorySpace::pinned, host_limit_),
               Ledger(MemorySpace::host, host_limit_)},
      stop_(std::move(stop)),
      backend_({.threads = settings.threads, .stop = stop_}) {
  report_.settings = settings;
}

Runtime::Runtime(const Settings& settings, const DryRun& dry_run)
    : device_limit_(virtual_resource_, MemoryLimits().device),
      host_limit_(virtual_resource_, MemoryLimits().host),
      ledgers_{Ledger(MemorySpace::device, device_limit_), Ledger(MemorySpace::pinned, host_limit_),
               Ledger(MemorySpace::host, host_limit_)},
      backend_({.threads = 1, .stop = {}}),
      dry_run_(dry_run) {
  report_.settings = settings;
  report_.is_plan = true;
}

Runtime::Plan Runtime::finish_plan(const SpaceBytes& peak, ltxmem::Record&& record) const {
  Plan plan{peak, record.totals(), nullptr, nullptr};
  if (is_traced()) plan.record = std::make_shared<const ltxmem::Record>(std::move(record));
  if (!is_dry()) return plan;
  PlannedWork work;
  work.operations = plan.operations;
  if (dry_run_->profile != nullptr) work.replay = ltxmem::replay(record, *dry_run_->profile);
  work.record = std::move(record);
  plan.work = std::make_shared<const PlannedWork>(std::move(work));
  return plan;
}

Stage::Stage(Runtime& runtime, std::string name) : runtime_(runtime), start_(std::chrono::steady_clock::now()) {
  ltxmem::expects(!runtime.stage_open_, "stage ", name, ": another stage is open");
  runtime.stage_open_ = true;
  StageReport report;
  report.name = std::move(name);
  // What is held already (latents of earlier stages) is part of this stage's peak as well.
  for (std::size_t space = 0; space < runtime.ledgers_.size(); ++space) {
    runtime.ledgers_[space].reset_peak();
    report.planned_peak[space] = runtime.ledgers_[space].current_bytes();
  }
  if (runtime.watcher_) runtime.watcher_->stage_began(report.name);
  runtime.report_.stages.push_back(std::move(report));
}

Stage::~Stage() {
  StageReport& report = runtime_.report_.stages.back();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  for (std::size_t space = 0; space < runtime_.ledgers_.size(); ++space) {
    const ltxmem::MemoryPeak& peak = runtime_.ledgers_[space].peak();
    (runtime_.is_dry() ? report.planned_peak : report.measured_peak)[space] = peak.bytes;
    if (!runtime_.is_dry()) continue;
    report.at_peak[space] = peak;
    report.at_peak[space].step = peak.step.empty() ? report.name : report.name + ", " + peak.step;
  }
  if (runtime_.is_dry()) report.seconds = 0;
  runtime_.stage_open_ = false;
  if (runtime_.watcher_) runtime_.watcher_->stage_ended();
}

ltxmem::ResourceRef PlannedWorkspace::memory(MemorySpace space) {
  return runtime_.ledger(space).workspace(plan_.work ? plan_.work->record.peak(space) : ltxmem::MemoryPeak());
}

void PlannedWorkspace::note(const Runtime::Plan& plan) {
  if (runtime_.report_.stages.empty()) return;
  StageReport& stage = runtime_.report_.stages.back();
  for (std::size_t space = 0; space < stage.planned_peak.size(); ++space) {
    stage.planned_peak[space] = std::max(stage.planned_peak[space], runtime_.ledgers_[space].current_bytes());
  }
  stage.operations += plan.operations;
  if (!plan.work) return;
  for (const ltxmem::Replay::Step& step : plan.work->replay.steps) {
    for (std::size_t bound = 0; bound < stage.planned_seconds.size(); ++bound) {
      stage.planned_seconds[bound] += step.seconds_by_bound[bound];
    }
  }
  PlannedPart part{plan.work, {}};
  const auto same = [&](const PlannedPart& known) {
    return known.work->operations == plan.operations && known.work->replay.seconds == plan.work->replay.seconds;
  };
  const auto known = std::find_if(stage.parts.begin(), stage.parts.end(), same);
  if (known != stage.parts.end()) part.work = known->work;
  for (std::size_t space = 0; space < part.held.size(); ++space) part.held[space] = runtime_.ledgers_[space].held();
  stage.parts.push_back(std::move(part));
}

}  // namespace ltx2
