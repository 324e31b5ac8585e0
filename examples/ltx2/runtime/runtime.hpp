// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "runtime/report.hpp"
#include "runtime/settings.hpp"
#ifdef LTX2_WITH_ONEDNN
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#endif
#ifdef LTX2_WITH_HIGHWAY
#include "ltxmem/backend/cpu/highway_attention.hpp"
#endif

namespace ltx2 {

#ifdef LTX2_WITH_ONEDNN
using HostGemm = ltxmem::OneDnnGemm;
#else
using HostGemm = ltxmem::PortableGemm;
#endif
#ifdef LTX2_WITH_HIGHWAY
using HostAttention = ltxmem::HighwayAttention;
#else
using HostAttention = ltxmem::PortableAttention;
#endif

using HostBackend = ltxmem::CpuBackend<HostGemm, HostAttention>;
using PlanBackend = ltxmem::DryRunBackend<HostBackend::Target>;

/// What a run works with: the backend, the counted memory of each space, and the report.
///
/// Work is written once as a body(backend, workspace). plan() runs it dry, which gives its exact memory and cost; a
/// PlannedWorkspace then holds exactly that memory for one or more real runs of the same body.
class Runtime {
 public:
  explicit Runtime(const Settings& settings, std::stop_token stop = {})
      : stop_(std::move(stop)), backend_({.threads = settings.threads, .stop = stop_}) {
    report_.settings = settings;
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Settings& settings() const noexcept { return report_.settings; }
  HostBackend& backend() noexcept { return backend_; }
  const std::stop_token& stop() const noexcept { return stop_; }
  Report& report() noexcept { return report_; }

  /// Who is told how a run goes, in the calling thread; for progress.
  struct Watcher {
    std::function<void(const std::string& name)> stage_began;
    std::function<void(std::int64_t steps)> announced;  ///< so many more named steps have become known
    std::function<void()> stepped;                      ///< one of them begins
    std::function<void()> stage_ended;
  };
  /// All four members must be callable.
  void watch(Watcher watcher) {
    watcher_ = std::move(watcher);
    backend_.on_step([this](const char*, std::int64_t) { watcher_->stepped(); });
  }
  /// Tells the watcher of work that will be run in planned workspaces; run() does it by itself.
  void announce(std::int64_t steps) const {
    if (watcher_) watcher_->announced(steps);
  }

  /// Memory for what outlives a workspace: latents, frames, waveforms. Counted in the host space.
  ltxmem::ResourceRef host_memory() noexcept { return counted(ltxmem::MemorySpace::host); }

  /// Calls fn.template operator()<T>() with the element type of the settings.
  template <class Fn>
  decltype(auto) with_element(Fn&& fn) const {
    if (settings().dtype == ltxmem::DType::f32) return fn.template operator()<float>();
    return fn.template operator()<ltxmem::bfloat16>();
  }

  struct Plan {
    SpaceBytes peak{};
    ltxmem::Record::Totals operations;
  };

  template <class Body>
  Plan plan(Body&& body) const {
    PlanBackend dry(backend_.target());
    ltxmem::Workspace workspace = ltxmem::Workspace::make_virtual();
    body(dry, workspace);
    return {peaks(workspace), dry.record().totals()};
  }

  /// Plans the body, then runs it once in a workspace of exactly the planned size. The stage name is used when no Stage
  /// is open.
  template <class Body>
  void run(const char* stage_name, Body&& body);

 private:
  friend class PlannedWorkspace;
  friend class Stage;

  static SpaceBytes peaks(const ltxmem::Workspace& workspace) noexcept {
    return {workspace.device.peak_bytes(), workspace.pinned.peak_bytes(), workspace.host.peak_bytes()};
  }
  ltxmem::CountingResource& counted(ltxmem::MemorySpace space) noexcept {
    return counted_[static_cast<std::size_t>(space)];
  }

  ltxmem::HostResource host_resource_;
  std::array<ltxmem::CountingResource, ltxmem::memory_spaces.size()> counted_{ltxmem::CountingResource(host_resource_),
                                                                              ltxmem::CountingResource(host_resource_),
                                                                              ltxmem::CountingResource(host_resource_)};
  std::stop_token stop_;
  HostBackend backend_;
  Report report_;
  std::optional<Watcher> watcher_;
  bool stage_open_ = false;
};

/// Names, times and measures a part of a run while it lives; stages do not nest.
class Stage {
 public:
  Stage(Runtime& runtime, std::string name) : runtime_(runtime), start_(std::chrono::steady_clock::now()) {
    ltxmem::expects(!runtime.stage_open_, "stage ", name, ": another stage is open");
    runtime.stage_open_ = true;
    for (ltxmem::CountingResource& resource : runtime.counted_) resource.reset_peak();
    StageReport report;
    report.name = std::move(name);
    // What is held already (latents of earlier stages) is part of this stage's peak as well.
    for (std::size_t space = 0; space < runtime.counted_.size(); ++space) {
      report.planned_peak[space] = runtime.counted_[space].current_bytes();
    }
    if (runtime.watcher_) runtime.watcher_->stage_began(report.name);
    runtime.report_.stages.push_back(std::move(report));
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage() {
    StageReport& report = runtime_.report_.stages.back();
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    for (std::size_t space = 0; space < runtime_.counted_.size(); ++space) {
      report.measured_peak[space] = runtime_.counted_[space].peak_bytes();
    }
    runtime_.stage_open_ = false;
    if (runtime_.watcher_) runtime_.watcher_->stage_ended();
  }

 private:
  Runtime& runtime_;
  std::chrono::steady_clock::time_point start_;
};

/// Exactly the memory that a plan asks for, for as long as the planned body is run again and again.
class PlannedWorkspace {
 public:
  PlannedWorkspace(Runtime& runtime, const Runtime::Plan& plan)
      : plan_(plan),
        runtime_(runtime),
        workspace_{{runtime.counted(ltxmem::MemorySpace::device), plan.peak[0]},
                   {runtime.counted(ltxmem::MemorySpace::pinned), plan.peak[1]},
                   {runtime.counted(ltxmem::MemorySpace::host), plan.peak[2]}} {}

  /// Runs the body that was planned.
  template <class Body>
  void run(Body&& body) {
    run(plan_, body);
  }

  /// Whether another plan fits into this memory.
  bool holds(const Runtime::Plan& plan) const noexcept {
    for (std::size_t space = 0; space < plan.peak.size(); ++space) {
      if (plan.peak[space] > plan_.peak[space]) return false;
    }
    return true;
  }

  /// Runs the body of a plan that fits, and adds its operations to the open stage. Throws Error when the body did not
  /// use exactly the planned bytes: a defect, since the same code made the plan.
  template <class Body>
  void run(const Runtime::Plan& plan, Body&& body) {
    if (!runtime_.report_.stages.empty()) {
      StageReport& stage = runtime_.report_.stages.back();
      for (std::size_t space = 0; space < stage.planned_peak.size(); ++space) {
        stage.planned_peak[space] = std::max(stage.planned_peak[space], runtime_.counted_[space].current_bytes());
      }
      stage.operations.steps += plan.operations.steps;
      stage.operations.operations += plan.operations.operations;
      stage.operations.flops += plan.operations.flops;
      stage.operations.bytes += plan.operations.bytes;
      stage.operations.transfer_bytes += plan.operations.transfer_bytes;
    }
    for (ltxmem::Arena* arena : {&workspace_.device, &workspace_.pinned, &workspace_.host}) arena->reset_peak();
    body(runtime_.backend_, workspace_);
    const SpaceBytes used = Runtime::peaks(workspace_);
    for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
      const auto index = static_cast<std::size_t>(space);
      ltxmem::expects<ltxmem::Error>(used[index] == plan.peak[index], "planned ", plan.peak[index], " bytes of ",
                                     memory_space_name(space), " memory, used ", used[index]);
    }
  }

 private:
  Runtime::Plan plan_;
  Runtime& runtime_;
  ltxmem::Workspace workspace_;
};

template <class Body>
void Runtime::run(const char* stage_name, Body&& body) {
  std::unique_ptr<Stage> stage;
  if (!stage_open_) stage = std::make_unique<Stage>(*this, stage_name);
  const Plan planned = plan(body);
  announce(planned.operations.steps);
  PlannedWorkspace(*this, planned).run(body);
}

}  // namespace ltx2
