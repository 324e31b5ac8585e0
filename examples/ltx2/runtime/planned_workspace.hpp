// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>

#include "runtime/runtime.hpp"
#include "runtime/stage.hpp"

namespace ltx2 {

/// Exactly the memory that a plan asks for, for as long as the planned body is run again and again.
class PlannedWorkspace {
 public:
  /// Device memory is that of the rank. A rank of another process has its memory there: here it only counts.
  PlannedWorkspace(Runtime& runtime, const Runtime::Plan& plan, int rank = 0)
      : plan_(plan),
        runtime_(runtime),
        workspace_{{memory(ltxmem::MemorySpace::device, rank), plan.peak[0]},
                   {memory(ltxmem::MemorySpace::pinned, rank), plan.peak[1]},
                   {memory(ltxmem::MemorySpace::host, rank), plan.peak[2]}} {
    for (std::size_t i = 0; i < plan.stores.size(); ++i) workspace_.stores.push_back(store(i));
  }

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
    return std::equal(plan.stores.begin(), plan.stores.end(), plan_.stores.begin(), plan_.stores.end(),
                      [](const auto& wanted, const auto& there) { return wanted.bytes <= there.bytes; });
  }

  /// Runs the body of a plan that fits, unless this is a dry run, and adds its operations to the open stage. Throws
  /// Error when the body did not use exactly the planned bytes: a defect, since the same code made the plan.
  template <class Body>
  void run(const Runtime::Plan& plan, Body&& body) {
    runtime_.note({&plan, 1});
    if (!runtime_.is_dry()) runtime_.with_backend([&](auto& backend) { run_on(backend, plan, body); });
  }

 private:
  template <class Backend>
  friend class RankWorkspaces;

  /// Returns when the device has done the work: everything that it used is the caller's again.
  template <class Backend, class Body>
  void run_on(Backend& backend, const Runtime::Plan& plan, Body&& body) {
    for (ltxmem::Arena* arena : {&workspace_.device, &workspace_.pinned, &workspace_.host}) arena->reset_peak();
    for (ltxmem::StoreArena& store : workspace_.stores) store.arena.reset_peak();
    const SpaceBytes used = plan.record ? run_traced(backend, *plan.record, body) : run_silently(backend, body);
    for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
      const auto index = static_cast<std::size_t>(space);
      ltxmem::expects<ltxmem::Error>(used[index] == plan.peak[index], "planned ", plan.peak[index], " bytes of ",
                                     memory_space_name(space), " memory, used ", used[index]);
    }
    for (std::size_t i = 0; i < workspace_.stores.size(); ++i) {
      const std::size_t stored = workspace_.stores[i].arena.peak_bytes();
      ltxmem::expects<ltxmem::Error>(stored == plan.stores[i].bytes, "planned ", plan.stores[i].bytes,
                                     " bytes of store ", runtime_.settings().stores[i].name(), ", used ", stored);
    }
  }

  template <class Backend, class Body>
  SpaceBytes run_silently(Backend& backend, Body&& body) {
    run_to_end(backend, body);
    return Runtime::peaks(workspace_);
  }
  template <class Backend, class Body>
  SpaceBytes run_traced(Backend& backend, const ltxmem::Record& planned, Body&& body) {
    StepTrace trace(planned, workspace_, runtime_.watcher_->said);
    const TraceInUse in_use(runtime_.trace_, trace);
    run_to_end(backend, body);
    trace.finish();
    return trace.peaks();
  }

  template <class Body>
  void run_to_end(HostBackend& backend, Body&& body) {
    body(backend, workspace_);
  }
  template <class Body>
  void run_to_end(CardBackend& backend, Body&& body) {
    try {
      body(backend, workspace_);
    } catch (...) {
      try {
        backend.synchronize();
      } catch (...) {  // the first error says more
      }
      throw;
    }
    backend.synchronize();
  }

  /// Steps are told to a trace while it lives.
  class TraceInUse {
   public:
    TraceInUse(StepTrace*& place, StepTrace& trace) noexcept : place_(place) { place_ = &trace; }
    TraceInUse(const TraceInUse&) = delete;
    TraceInUse& operator=(const TraceInUse&) = delete;
    ~TraceInUse() { place_ = nullptr; }

   private:
    StepTrace*& place_;
  };

  ltxmem::ResourceRef memory(ltxmem::MemorySpace space, int rank);
  ltxmem::StoreArena store(std::size_t index);

  Runtime::Plan plan_;
  Runtime& runtime_;
  ltxmem::Workspace workspace_;
};

template <class Body>
void Runtime::run(const char* stage_name, Body&& body) {
  std::optional<Stage> stage;
  if (!stage_open_) stage.emplace(*this, stage_name);
  const Plan planned = plan(body);
  announce(planned.operations.steps);
  PlannedWorkspace(*this, planned).run(body);
}

}  // namespace ltx2
