// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/runtime.hpp"

#include <utility>

#include "runtime/rank_cards.hpp"

namespace ltx2 {

using ltxmem::MemorySpace;

std::deque<Runtime::RankCard> Runtime::cards_of(const Settings& settings, const std::stop_token& stop) {
  std::deque<RankCard> cards;
  if (settings.device.kind == ltxmem::DeviceKind::cpu) return cards;
  const std::vector<int> indices = card_indices(settings);
  // The first one last: it stays current in this thread.
  for (auto index = indices.rbegin(); index != indices.rend(); ++index) cards.emplace_front(*index, stop);
  return cards;
}

Runtime::Runtime(const Settings& settings, std::stop_token stop, const MemoryLimits& limits)
    : cards_(cards_of(settings, stop)),
      card_(cards_.empty() ? nullptr : &cards_.front().backend),
      device_limit_(card_ != nullptr ? card_->memory() : ltxmem::ResourceRef(host_resource_), limits.device,
                    "device budget"),
      host_limit_(card_ != nullptr ? card_->pinned_memory() : ltxmem::ResourceRef(host_resource_), limits.host,
                  "host budget"),
      ledgers_{Ledger(MemorySpace::device, device_limit_), Ledger(MemorySpace::pinned, host_limit_),
               Ledger(MemorySpace::host, host_limit_)},
      stop_(std::move(stop)),
      backend_({.threads = settings.threads, .stop = stop_}) {
  report_.settings = settings;
  add_rank_devices([&](int rank) -> ltxmem::ResourceRef {
    if (card_ == nullptr) return host_resource_;
    return card_of(rank).backend.memory();
  });
  add_stores([&](const StoreSettings& store) -> ltxmem::ResourceRef {
    if (card_ == nullptr) return host_resource_;
    const bool is_rank = store.kind == ltxmem::DeviceKind::cpu;
    return card_->peer_memory(is_rank ? card_indices(settings)[static_cast<std::size_t>(store.index)] : store.index);
  });
}

Runtime::Runtime(const Settings& settings, const DryRun& dry_run)
    : card_(nullptr),
      device_limit_(virtual_resource_, MemoryLimits().device),
      host_limit_(virtual_resource_, MemoryLimits().host),
      ledgers_{Ledger(MemorySpace::device, device_limit_), Ledger(MemorySpace::pinned, host_limit_),
               Ledger(MemorySpace::host, host_limit_)},
      stop_(dry_run.stop),
      backend_({.threads = 1, .stop = stop_}),
      dry_run_(dry_run) {
  report_.settings = settings;
  report_.is_plan = true;
  add_rank_devices([&](int) -> ltxmem::ResourceRef { return virtual_resource_; });
  add_stores([&](const StoreSettings&) -> ltxmem::ResourceRef { return virtual_resource_; });
}

void Runtime::add_rank_devices(const std::function<ltxmem::ResourceRef(int rank)>& memory_of) {
  expect_workable(settings().ranks);
  for (int rank = 1; rank < settings().ranks.first_store(); ++rank) {
    rank_devices_.emplace_back(memory_of(rank), device_limit_.limit_bytes(), "device budget",
                               " of rank " + std::to_string(rank));
  }
}

void Runtime::add_stores(const std::function<ltxmem::ResourceRef(const StoreSettings&)>& memory_of) {
  expect_stores(settings());
  for (const StoreSettings& store : settings().stores) {
    const std::size_t limit = is_plan() ? StoreSettings::unlimited : store.free_bytes;  // what does not fit is planned
    std::deque<RankDevice>& devices = store.kind == ltxmem::DeviceKind::cpu ? rank_devices_ : store_cards_;
    devices.emplace_back(memory_of(store), limit, "store " + store.name(), " of store " + store.name());
  }
}

int Runtime::fullest_rank(MemorySpace space, const std::function<std::size_t(const Ledger&)>& bytes) {
  int fullest = 0;
  for (int rank = 1; rank < settings().ranks.first_store(); ++rank) {
    if (bytes(ledger(space, rank)) > bytes(ledger(space, fullest))) fullest = rank;
  }
  return fullest;
}

Runtime::Plan Runtime::finish_plan(const SpaceBytes& peak, ltxmem::Record&& record) const {
  Plan plan{peak, record.totals(), nullptr, nullptr, {}};
  if (is_traced()) plan.record = std::make_shared<const ltxmem::Record>(std::move(record));
  if (!is_plan()) return plan;
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
  for (Runtime::RankDevice& device : runtime.rank_devices_) device.ledger.reset_peak();
  for (Runtime::RankDevice& device : runtime.store_cards_) device.ledger.reset_peak();
  report.stores.resize(runtime.settings().stores.size());
  for (std::size_t i = 0; i < report.stores.size(); ++i) {
    report.stores[i].planned.bytes = runtime.store_ledger(i).current_bytes();
  }
  if (runtime.watcher_) runtime.watcher_->stage_began(report.name);
  runtime.report_.stages.push_back(std::move(report));
}

Stage::~Stage() {
  StageReport& report = runtime_.report_.stages.back();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const bool is_plan = runtime_.is_plan();
  for (const MemorySpace space : ltxmem::memory_spaces) {
    const auto index = static_cast<std::size_t>(space);
    const int rank = runtime_.fullest_rank(space, [](const Ledger& ledger) { return ledger.peak().bytes; });
    const ltxmem::MemoryPeak& peak = runtime_.ledger(space, rank).peak();
    (is_plan ? report.planned_peak : report.measured_peak)[index] = peak.bytes;
    if (!is_plan) continue;
    report.at_peak[index] = peak;
    report.at_peak[index].step = peak.step.empty() ? report.name : report.name + ", " + peak.step;
  }
  for (std::size_t rank = 0; rank < report.ranks.size(); ++rank) {
    RankReport& of_rank = report.ranks[rank];
    const Ledger& ledger = runtime_.ledger(MemorySpace::device, static_cast<int>(rank));
    (is_plan ? of_rank.planned_peak : of_rank.measured_peak) = ledger.peak().bytes;
  }
  for (std::size_t i = 0; i < report.stores.size(); ++i) {
    const ltxmem::MemoryPeak& peak = runtime_.store_ledger(i).peak();
    report.stores[i].measured_peak = is_plan ? 0 : peak.bytes;
    if (!is_plan) continue;
    report.stores[i].planned = peak;
    report.stores[i].planned.step = report.name;
  }
  if (is_plan) report.seconds = 0;
  runtime_.stage_open_ = false;
  if (runtime_.watcher_) runtime_.watcher_->stage_ended();
}

ltxmem::StoreArena PlannedWorkspace::store(std::size_t index) {
  const ltxmem::MemoryPeak& planned = plan_.stores[index];
  return {ltxmem::Arena(runtime_.store_ledger(index).workspace(planned), planned.bytes),
          Runtime::weight_of(runtime_.settings().stores[index])};
}

ltxmem::ResourceRef PlannedWorkspace::memory(MemorySpace space, int rank) {
  ltxmem::MemoryPeak contents = plan_.work ? plan_.work->record.peak(space) : ltxmem::MemoryPeak();
  Ledger& ledger = runtime_.ledger(space, rank);
  if (runtime_.is_here(rank)) return ledger.workspace(std::move(contents));
  return ledger.workspace(std::move(contents), runtime_.virtual_resource_);
}

void Runtime::note(std::span<const Plan> plans) {
  if (report_.stages.empty()) return;
  StageReport& stage = report_.stages.back();
  const auto current = [](const Ledger& ledger) { return ledger.current_bytes(); };
  for (const MemorySpace space : ltxmem::memory_spaces) {
    std::size_t& peak = stage.planned_peak[static_cast<std::size_t>(space)];
    peak = std::max(peak, current(ledger(space, fullest_rank(space, current))));
  }
  for (std::size_t i = 0; i < stage.stores.size(); ++i) {
    std::size_t& peak = stage.stores[i].planned.bytes;
    peak = std::max(peak, current(store_ledger(i)));
  }
  for (const Plan& plan : plans) stage.operations += plan.operations;
  if (!plans.front().work) return;
  // All wait for the one that takes longest.
  const Plan& slowest = *std::max_element(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) {
    return a.work->replay.seconds < b.work->replay.seconds;
  });
  for (const ltxmem::Replay::Step& step : slowest.work->replay.steps) {
    for (std::size_t bound = 0; bound < stage.planned_seconds.size(); ++bound) {
      stage.planned_seconds[bound] += step.seconds_by_bound[bound];
    }
  }
  const Plan& first = plans.front();
  PlannedPart part{first.work, {}};
  const auto same = [&](const PlannedPart& known) {
    return known.work->operations == first.operations && known.work->replay.seconds == first.work->replay.seconds;
  };
  const auto known = std::find_if(stage.parts.begin(), stage.parts.end(), same);
  if (known != stage.parts.end()) part.work = known->work;
  for (std::size_t space = 0; space < part.held.size(); ++space) part.held[space] = ledgers_[space].held();
  stage.parts.push_back(std::move(part));
}

void Runtime::note_ranks(std::span<const Plan> plans) {
  const RankSettings& ranks = settings().ranks;
  if (report_.stages.empty() || ranks.count == 1) return;
  StageReport& stage = report_.stages.back();
  stage.ranks.resize(static_cast<std::size_t>(ranks.count));
  for (int rank = 0; rank < ranks.count; ++rank) {
    RankReport& report = stage.ranks[static_cast<std::size_t>(rank)];
    report.planned_peak = std::max(report.planned_peak, ledger(MemorySpace::device, rank).current_bytes());
    if (!ranks.works(rank)) continue;
    const Plan& plan = plans[static_cast<std::size_t>(rank - ranks.first_working())];
    report.planned_message_bytes += plan.operations.message_bytes;
    if (plan.work) report.planned_seconds += plan.work->replay.seconds;
  }
}

}  // namespace ltx2
