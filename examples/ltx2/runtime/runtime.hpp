// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/memory/limiting_resource.hpp"
#include "runtime/card_backend.hpp"
#include "runtime/card_messages.hpp"
#include "runtime/device_target.hpp"
#include "runtime/host_work.hpp"
#include "runtime/ledger.hpp"
#include "runtime/processes.hpp"
#include "runtime/report.hpp"
#include "runtime/settings.hpp"
#include "runtime/step_trace.hpp"

namespace ltx2 {

/// Bytes that a run may use: device memory of each rank, and pinned and host memory together.
struct MemoryLimits {
  std::size_t device = std::numeric_limits<std::size_t>::max();
  std::size_t host = std::numeric_limits<std::size_t>::max();
};

/// What a run works with: the backend, the counted memory of each space, and the report. Beside a card all memory of
/// the host that the run takes is page-locked, so that copies and casts reach it.
///
/// Work is written once as a body(backend, workspace). plan() runs it dry, which gives its exact memory and cost; a
/// PlannedWorkspace then holds exactly that memory for one or more real runs of the same body.
///
/// A runtime made for a dry run plans every body and runs none; its memory has addresses that must not be dereferenced.
/// The pipeline given such a runtime is the plan of the whole job: the stages of its report have the planned peaks of a
/// real run, to the byte.
///
/// Where ranks are processes, all but the primary plan what they do not share as in a dry run, with memory for the host
/// tensors alone.
class Runtime : private HostWork::Source {
 public:
  /// Asks for a dry run, with times on that device when there is one; the profile is borrowed. A stop request ends the
  /// plan of a body by Cancelled, in a dry run as in a real one.
  struct DryRun {
    const ltxmem::DeviceProfile* profile = nullptr;
    std::stop_token stop{};
  };

  explicit Runtime(const Settings& settings, std::stop_token stop = {}, const MemoryLimits& limits = {});
  Runtime(const Settings& settings, const DryRun& dry_run);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Settings& settings() const noexcept { return report_.settings; }
  /// The processor's, whatever device computes.
  HostBackend& backend() noexcept { return backend_; }
  /// Calls fn(backend) with that of the device that computes.
  template <class Fn>
  decltype(auto) with_backend(Fn&& fn) {
    return card_ != nullptr ? fn(*card_) : fn(backend_);
  }
  const std::stop_token& stop() const noexcept { return stop_; }
  Report& report() noexcept { return report_; }
  /// Whether nothing is run at all.
  bool is_plan() const noexcept { return dry_run_.has_value(); }
  /// Whether this is the process that does what ranks do not share.
  bool is_primary() const noexcept { return is_here(0); }
  bool is_dry() const noexcept override { return is_plan() || !is_primary(); }

  /// Who is told how a run goes, in the calling thread; for progress.
  struct Watcher {
    std::function<void(const std::string& name)> stage_began;
    std::function<void(std::int64_t steps)> announced;  ///< so many more named steps have become known
    std::function<void()> stepped;                      ///< one of them begins
    std::function<void()> stage_ended;
    std::function<void(const std::string&)> said;  ///< a line for people: memory per step, with verbose 2
  };
  /// All members must be callable.
  void watch(Watcher watcher) {
    watcher_ = std::move(watcher);
    with_backend([this](auto& backend) {
      backend.on_step([this](const char* name, std::int64_t index) { tell(name, index); });
    });
  }
  bool is_watched() const noexcept { return watcher_.has_value(); }
  /// Told of every named step of every rank, where there are several, in the thread of that rank: how tests let one
  /// fail or stall. Before the first work of ranks.
  void watch_ranks(std::function<void(int rank, const char* step, std::int64_t index)> watcher) {
    rank_watcher_ = std::move(watcher);
  }
  /// Tells the watcher of work that will be run in planned workspaces; run() does it by itself.
  void announce(std::int64_t steps) const {
    if (watcher_) watcher_->announced(steps);
  }

  /// Memory for what outlives a workspace: latents, frames, waveforms. Counted in the host space under that name, which
  /// must be a literal.
  ltxmem::ResourceRef host_memory(const char* name = "host tensors") override {
    return ledger(ltxmem::MemorySpace::host).named(name);
  }
  /// Counts memory that somebody else holds: what is taken here must not be dereferenced.
  ltxmem::ResourceRef noted_memory(ltxmem::MemorySpace space, const char* name) {
    return ledger(space).named(name, virtual_resource_);
  }
  /// Host memory and leave to compute on it, for code that knows no runtime.
  HostWork host_work() noexcept { return HostWork(static_cast<HostWork::Source&>(*this)); }

  /// Computes on host tensors, unless this is a dry run.
  template <class Fn>
  void on_host(Fn&& fn) {
    host_work().run(std::forward<Fn>(fn));
  }

  /// Calls fn.template operator()<T>() with the element type of the settings.
  template <class Fn>
  decltype(auto) with_element(Fn&& fn) const {
    if (settings().dtype == ltxmem::DType::f32) return fn.template operator()<float>();
    return fn.template operator()<ltxmem::bfloat16>();
  }

  struct Plan {
    SpaceBytes peak{};
    ltxmem::Record::Totals operations;
    std::shared_ptr<const PlannedWork> work;       ///< the rest of it; only in a dry run
    std::shared_ptr<const ltxmem::Record> record;  ///< only where steps are traced
    std::vector<ltxmem::MemoryPeak> stores{};      ///< what it takes of each store; empty: none is reached
  };

  /// threads: that it runs with; a dry run has threads to plan for and none to run.
  template <class Body>
  Plan plan(Body&& body) const {
    return plan(std::max(1, settings().threads), body);
  }
  template <class Body>
  Plan plan(int threads, Body&& body) const {
    PlanBackend dry(DeviceTarget(settings().device, threads), stop_);
    ltxmem::Workspace workspace = ltxmem::Workspace::make_virtual(dry.record());
    body(dry, workspace);
    return finish_plan(peaks(workspace), std::move(dry.record()));
  }
  /// The same of a body that reaches the stores, if there are any.
  template <class Body>
  Plan plan_with_stores(int threads, Body&& body) const {
    std::deque<ltxmem::Record> stored(settings().stores.size());  // what each holds
    Plan made = plan(threads, [&](PlanBackend& backend, ltxmem::Workspace& workspace) {
      for (std::size_t i = 0; i < stored.size(); ++i) {
        workspace.stores.push_back(
            {ltxmem::Arena::make_virtual(ltxmem::MemorySpace::device, stored[i]), weight_of(settings().stores[i])});
      }
      body(backend, workspace);
    });
    for (const ltxmem::Record& record : stored) made.stores.push_back(record.peak(ltxmem::MemorySpace::device));
    return made;
  }

  /// Plans the body, then runs it once in a workspace of exactly the planned size. The stage name is used when no Stage
  /// is open.
  template <class Body>
  void run(const char* stage_name, Body&& body);

 private:
  friend class PlannedWorkspace;
  template <class Backend>
  friend class RankWorkspaces;
  friend class Stage;

  /// Memory of a rank's device. That of rank 0 is the device of everything that ranks do not share.
  struct RankDevice {
    /// owner: " of ...", in errors.
    RankDevice(ltxmem::ResourceRef upstream, std::size_t limit_bytes, std::string limit_name, std::string owner)
        : limit(upstream, limit_bytes, std::move(limit_name)),
          ledger(ltxmem::MemorySpace::device, limit, std::move(owner)) {}

    ltxmem::LimitingResource limit;
    Ledger ledger;
  };
  /// The card of a rank, and its messages to those of other ranks once they have met.
  struct RankCard {
    RankCard(int index, const std::stop_token& stop) : backend(index, stop) {}

    CardBackend backend;
    std::unique_ptr<CardMessages> messages{};
  };

  static SpaceBytes peaks(const ltxmem::Workspace& workspace) noexcept {
    return {workspace.device.peak_bytes(), workspace.pinned.peak_bytes(), workspace.host.peak_bytes()};
  }
  Plan finish_plan(const SpaceBytes& peak, ltxmem::Record&& record) const;
  /// Of a step that begins.
  void tell(const char* name, std::int64_t index) {
    if (trace_ != nullptr) trace_->enter(name, index);
    if (watcher_) watcher_->stepped();
  }
  bool is_traced() const noexcept { return !is_plan() && watcher_ && settings().verbose >= 2; }

  ltxmem::ResourceRef host_values(const char* name) override {
    return ledger(ltxmem::MemorySpace::host).named(name, host_resource_);
  }
  Ledger& ledger(ltxmem::MemorySpace space) noexcept { return ledgers_[static_cast<std::size_t>(space)]; }
  /// Whether a rank is in this process.
  bool is_here(int rank) const noexcept {
    const Processes* processes = settings().ranks.processes;
    return processes == nullptr || processes->rank() == rank;
  }
  /// The device of a rank; the other spaces are one for all.
  Ledger& ledger(ltxmem::MemorySpace space, int rank) noexcept {
    const bool is_other = space == ltxmem::MemorySpace::device && rank > 0;
    return is_other ? rank_devices_[static_cast<std::size_t>(rank - 1)].ledger : ledger(space);
  }
  static std::deque<RankCard> cards_of(const Settings& settings, const std::stop_token& stop);
  /// Of a rank in this process.
  RankCard& card_of(int rank) {
    return cards_.at(settings().ranks.processes != nullptr ? 0 : static_cast<std::size_t>(rank));
  }
  static double weight_of(const StoreSettings& store) noexcept { return static_cast<double>(store.free_bytes); }
  Ledger& store_ledger(std::size_t index) noexcept {
    if (store_cards_.empty()) return ledger(ltxmem::MemorySpace::device, settings().stores[index].index);
    return store_cards_[index].ledger;
  }
  /// memory_of(rank): what its ledger counts.
  void add_rank_devices(const std::function<ltxmem::ResourceRef(int rank)>& memory_of);
  /// Behind the devices of the other ranks.
  void add_stores(const std::function<ltxmem::ResourceRef(const StoreSettings&)>& memory_of);
  /// The rank whose ledger gives the largest number, of those that are no stores.
  int fullest_rank(ltxmem::MemorySpace space, const std::function<std::size_t(const Ledger&)>& bytes);
  /// Adds what is about to be done, by one or by several at once, to the open stage.
  void note(std::span<const Plan> plans);
  /// The same to what the stage says of every rank; plans of the working ones.
  void note_ranks(std::span<const Plan> plans);

  ltxmem::HostResource host_resource_;
  VirtualResource virtual_resource_;
  std::deque<RankCard> cards_;  ///< of this process' ranks; none where the processor computes, and in a dry run
  CardBackend* card_;           ///< the first of them, or null
  ltxmem::LimitingResource device_limit_;
  ltxmem::LimitingResource host_limit_;
  std::array<Ledger, ltxmem::memory_spaces.size()> ledgers_;
  std::deque<RankDevice> rank_devices_;  ///< of ranks 1, 2, ...
  std::deque<RankDevice> store_cards_;   ///< of the stores, where these are no ranks
  std::stop_token stop_;
  HostBackend backend_;
  std::optional<DryRun> dry_run_;
  Report report_;
  std::optional<Watcher> watcher_;
  std::function<void(int, const char*, std::int64_t)> rank_watcher_;
  StepTrace* trace_ = nullptr;  ///< of the body that runs
  bool stage_open_ = false;
};

}  // namespace ltx2

#include "runtime/planned_workspace.hpp"
