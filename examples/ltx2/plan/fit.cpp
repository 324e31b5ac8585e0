// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/fit.hpp"

#include <algorithm>
#include <utility>

namespace ltx2 {

namespace {

using Details = ltxmem::DoesNotFit::Details;

/// Of the stages, why that does not fit which needs most.
template <class Find>
std::optional<Details> worst_misfit(std::span<const StageReport> stages, const Find& find) {
  std::optional<Details> worst;
  for (const StageReport& stage : stages) {
    std::optional<Details> misfit = find(stage);
    if (misfit && (!worst || misfit->need_bytes > worst->need_bytes)) worst = std::move(misfit);
  }
  return worst;
}

}  // namespace

std::optional<Details> find_misfit(std::span<const StageReport> stages, const Settings& settings,
                                   std::span<const ltxmem::MemoryBudget> budgets) {
  for (std::size_t i = 0; i < settings.stores.size(); ++i) {
    const StoreSettings& store = settings.stores[i];
    const ltxmem::MemoryBudget free{"store " + store.name(), {ltxmem::MemorySpace::device}, store.free_bytes};
    auto misfit = worst_misfit(stages, [&](const StageReport& stage) {
      return ltxmem::find_misfit(std::span(&stage.stores[i].planned, 1), std::span(&free, 1));
    });
    if (misfit) return misfit;
  }
  for (const ltxmem::MemoryBudget& budget : budgets) {
    auto misfit = worst_misfit(stages, [&](const StageReport& stage) {
      auto at_peak = stage.at_peak;
      // Where the devices are the host's own memory, those of all ranks count.
      if (budget.spaces.size() > 1 && budget.spaces.front() == ltxmem::MemorySpace::device && !stage.ranks.empty()) {
        ltxmem::MemoryPeak& devices = at_peak[static_cast<std::size_t>(ltxmem::MemorySpace::device)];
        devices.bytes = 0;
        for (const RankReport& rank : stage.ranks) devices.bytes += rank.planned_peak;
      }
      return ltxmem::find_misfit(at_peak, std::span(&budget, 1));
    });
    if (misfit) return misfit;
  }
  return std::nullopt;
}

std::optional<Details> find_misfit(const Report& plan, std::span<const ltxmem::MemoryBudget> budgets) {
  return find_misfit(plan.stages, plan.settings, budgets);
}

std::vector<std::string> store_warnings(const Report& plan) {
  const std::vector<StoreReport> stores = plan.stores();
  const auto is_empty = [](const StoreReport& store) { return store.planned.bytes == 0; };
  if (stores.empty() || !std::all_of(stores.begin(), stores.end(), is_empty)) return {};
  return {"nothing leaves the device in scheme " + std::string(scheme_name(plan.settings.scheme)) + " with weights " +
          weights_text(plan.settings.weights) + ": --store " + stores_text(plan.settings.stores) + " holds nothing"};
}

void adopt_plan(Report& run, const Report& plan) {
  ltxmem::expects<ltxmem::Error>(run.stages.size() == plan.stages.size(), "plan of ", plan.stages.size(),
                                 " stages, the run had ", run.stages.size());
  for (std::size_t i = 0; i < run.stages.size(); ++i) {
    StageReport& stage = run.stages[i];
    const StageReport& planned = plan.stages[i];
    ltxmem::expects<ltxmem::Error>(stage.name == planned.name, "planned stage ", planned.name, ", the run had ",
                                   stage.name);
    stage.planned_peak = planned.planned_peak;
    stage.at_peak = planned.at_peak;
    // Times of another device than the one that ran would be guesses.
    if (!run.device_profile.empty()) stage.planned_seconds = planned.planned_seconds;
    ltxmem::expects<ltxmem::Error>(stage.ranks.size() == planned.ranks.size(), "planned ", planned.ranks.size(),
                                   " ranks in stage ", stage.name, ", the run had ", stage.ranks.size());
    for (std::size_t rank = 0; rank < stage.ranks.size(); ++rank) {
      stage.ranks[rank].planned_peak = planned.ranks[rank].planned_peak;
      stage.ranks[rank].planned_message_bytes = planned.ranks[rank].planned_message_bytes;
      if (!run.device_profile.empty()) stage.ranks[rank].planned_seconds = planned.ranks[rank].planned_seconds;
    }
    for (std::size_t store = 0; store < stage.stores.size(); ++store) {
      stage.stores[store].planned = planned.stores.at(store).planned;
    }
  }
}

std::vector<std::string> planning_defects(const Report& run) {
  std::vector<std::string> defects;
  for (const StageReport& stage : run.stages) {
    for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
      const std::size_t planned = stage.planned_peak[static_cast<std::size_t>(space)];
      const std::size_t measured = stage.measured_peak[static_cast<std::size_t>(space)];
      if (planned == measured) continue;
      defects.push_back(stage.name + ": planned " + std::to_string(planned) + " bytes of " +
                        std::string(memory_space_name(space)) + " memory, used " + std::to_string(measured));
    }
    for (std::size_t i = 0; i < stage.stores.size(); ++i) {
      const StoreReport& report = stage.stores[i];
      if (report.planned.bytes == report.measured_peak) continue;
      defects.push_back(stage.name + ": planned " + std::to_string(report.planned.bytes) + " bytes of store " +
                        run.settings.stores[i].name() + ", used " + std::to_string(report.measured_peak));
    }
    for (std::size_t rank = 0; rank < stage.ranks.size(); ++rank) {
      const RankReport& report = stage.ranks[rank];
      const std::string where = stage.name + ", rank " + std::to_string(rank) + ": planned ";
      if (report.planned_peak != report.measured_peak) {
        defects.push_back(where + std::to_string(report.planned_peak) + " bytes of its device, used " +
                          std::to_string(report.measured_peak));
      }
      if (report.planned_message_bytes != report.measured_message_bytes) {
        defects.push_back(where + std::to_string(report.planned_message_bytes) + " bytes of messages, sent " +
                          std::to_string(report.measured_message_bytes));
      }
    }
  }
  return defects;
}

bool is_as_planned(const Report& run, const std::function<void(const std::string&)>& warn) {
  const std::vector<std::string> defects = planning_defects(run);
  for (const std::string& defect : defects) warn("a defect of the program: " + defect);
#ifdef NDEBUG
  return true;
#else
  return defects.empty();
#endif
}

}  // namespace ltx2
