// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/report.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>

namespace ltx2 {
namespace {

SpaceBytes maximum(const std::vector<StageReport>& stages, SpaceBytes StageReport::*peak) {
  SpaceBytes result{};
  for (const StageReport& stage : stages) {
    for (std::size_t space = 0; space < result.size(); ++space) {
      result[space] = std::max(result[space], (stage.*peak)[space]);
    }
  }
  return result;
}

std::string_view saved_prefix_name(const Settings& settings) {
  if (!settings.saved_prefix) return "none";
  return *settings.saved_prefix == ltxmem::MemorySpace::device ? "device" : "host";
}

nlohmann::ordered_json space_json(const SpaceBytes& bytes) {
  nlohmann::ordered_json json;
  for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
    json[std::string(memory_space_name(space))] = bytes[static_cast<std::size_t>(space)];
  }
  return json;
}

nlohmann::ordered_json peak_json(const ltxmem::MemoryPeak& peak) {
  nlohmann::ordered_json json{{"step", peak.step}, {"buffers", nlohmann::ordered_json::array()}};
  for (const ltxmem::BufferSum& buffer : peak.buffers) {
    json["buffers"].push_back({{"name", buffer.name}, {"bytes", buffer.bytes}});
  }
  return json;
}

/// Step and buffers of each space at the peak of the run: those of the first stage that needs most.
nlohmann::ordered_json at_peak_json(const Report& report) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
    const auto index = static_cast<std::size_t>(space);
    const StageReport* most = report.peak_stage(space);
    if (most != nullptr && !most->at_peak[index].buffers.empty()) {
      json[std::string(memory_space_name(space))] = peak_json(most->at_peak[index]);
    }
  }
  return json;
}

nlohmann::ordered_json planned_json(const SpaceBytes& peak, double seconds) {
  nlohmann::ordered_json json{{"peak_bytes", space_json(peak)}};
  if (seconds > 0) json["seconds"] = seconds;
  return json;
}

nlohmann::ordered_json rank_json(const RankReport& rank, std::size_t number, bool is_plan) {
  nlohmann::ordered_json json{
      {"rank", number},
      {"planned", {{"peak_bytes", rank.planned_peak}, {"message_bytes", rank.planned_message_bytes}}}};
  if (rank.planned_seconds > 0) json["planned"]["seconds"] = rank.planned_seconds;
  if (!is_plan) {
    json["measured"] = {{"peak_bytes", rank.measured_peak}, {"message_bytes", rank.measured_message_bytes}};
  }
  return json;
}

nlohmann::ordered_json store_json(const StoreReport& report, const StoreSettings& store, bool is_plan) {
  nlohmann::ordered_json json{{"store", store.name()}};
  if (store.free_bytes != StoreSettings::unlimited) json["free_bytes"] = store.free_bytes;
  json["planned"] = {{"peak_bytes", report.planned.bytes}};
  if (!report.planned.buffers.empty()) json["planned"]["at_peak"] = peak_json(report.planned);
  if (!is_plan) json["measured"] = {{"peak_bytes", report.measured_peak}};
  return json;
}

void add_budgets(nlohmann::ordered_json& json, const std::vector<ltxmem::MemoryBudget>& budgets) {
  for (const ltxmem::MemoryBudget& budget : budgets) {
    const std::size_t reserve = budget.bytes - budget.plannable_bytes();
    json["budget_bytes"][budget.name] = budget.plannable_bytes();
    if (reserve > 0) json["reserve_bytes"][budget.name] = reserve;
  }
}

}  // namespace

SpaceBytes Report::planned_peak() const {
  return maximum(stages, &StageReport::planned_peak);
}
const StageReport* Report::peak_stage(ltxmem::MemorySpace space) const {
  const auto index = static_cast<std::size_t>(space);
  const auto most = std::max_element(stages.begin(), stages.end(), [index](const auto& a, const auto& b) {
    return a.planned_peak[index] < b.planned_peak[index];
  });
  return most == stages.end() ? nullptr : &*most;
}
SpaceBytes Report::measured_peak() const {
  return maximum(stages, &StageReport::measured_peak);
}

std::vector<RankReport> Report::ranks() const {
  constexpr auto device = static_cast<std::size_t>(ltxmem::MemorySpace::device);
  std::vector<RankReport> sum;
  for (const StageReport& stage : stages) sum.resize(std::max(sum.size(), stage.ranks.size()));
  if (sum.empty()) return sum;
  for (const StageReport& stage : stages) {
    if (stage.ranks.empty()) {  // rank 0 works alone
      sum[0].planned_peak = std::max(sum[0].planned_peak, stage.planned_peak[device]);
      sum[0].measured_peak = std::max(sum[0].measured_peak, stage.measured_peak[device]);
    }
    for (std::size_t rank = 0; rank < stage.ranks.size(); ++rank) {
      const RankReport& part = stage.ranks[rank];
      RankReport& whole = sum[rank];
      whole.planned_peak = std::max(whole.planned_peak, part.planned_peak);
      whole.measured_peak = std::max(whole.measured_peak, part.measured_peak);
      whole.planned_message_bytes += part.planned_message_bytes;
      whole.measured_message_bytes += part.measured_message_bytes;
      whole.planned_seconds += part.planned_seconds;
    }
  }
  return sum;
}

std::vector<StoreReport> Report::stores() const {
  std::vector<StoreReport> most(settings.stores.size());
  for (const StageReport& stage : stages) {
    for (std::size_t i = 0; i < stage.stores.size(); ++i) {
      if (stage.stores[i].planned.bytes > most[i].planned.bytes) most[i].planned = stage.stores[i].planned;
      most[i].measured_peak = std::max(most[i].measured_peak, stage.stores[i].measured_peak);
    }
  }
  return most;
}

double Report::seconds() const {
  double sum = 0;
  for (const StageReport& stage : stages) sum += stage.seconds;
  return sum;
}

std::size_t StageReport::planned_bytes(std::span<const ltxmem::MemorySpace> spaces) const {
  std::size_t sum = 0;
  for (const ltxmem::MemorySpace space : spaces) sum += planned_peak[static_cast<std::size_t>(space)];
  return sum;
}

double StageReport::predicted_seconds() const {
  return std::accumulate(planned_seconds.begin(), planned_seconds.end(), 0.0);
}

double Report::predicted_seconds() const {
  double sum = 0;
  for (const StageReport& stage : stages) sum += stage.predicted_seconds();
  return sum;
}

nlohmann::ordered_json to_json(const Settings& settings) {
  const RankSettings& ranks = settings.ranks;
  nlohmann::ordered_json json{
      {"scheme", scheme_name(settings.scheme)},
      {"query-tile", settings.query_tile},
      {"key-tile", settings.key_tile},
      {"ffn-chunk", settings.ffn_chunk},
      {"decode-frames", settings.decode_frames},
      {"decode-tile", settings.decode_tile},
      {"weights", weights_text(settings.weights)},
      {"resident-blocks", settings.weights.resident_blocks},
      {"stored-blocks", settings.weights.stored_blocks},
      {"store", stores_text(settings.stores)},
      {"saved-prefix", saved_prefix_name(settings)},
      {"dtype", settings.dtype == ltxmem::DType::f32 ? "f32" : "bf16"},
      {"threads", settings.threads},
      {"device", device_text(settings.device)},
      {"ranks", ranks.count},
      {"parallel", ranks.count > 1 ? rank_layout_name(ranks.layout) : "none"},
      {"ulysses-degree", ranks.ulysses_degree},
      {"primary", ranks.idle_primary ? "idle" : "busy"},
      {"deadline", std::chrono::duration<double>(ranks.deadline).count()},
  };
  std::string weights;
  for (const double weight : ranks.weights) weights += (weights.empty() ? "" : ",") + nlohmann::json(weight).dump();
  if (!weights.empty()) json["rank-weights"] = weights;
  if (settings.weights.page_cache_bytes != WeightPlacement::all_cached) {
    json["page-cache"] = settings.weights.page_cache_bytes;
  }
  return json;
}

nlohmann::ordered_json to_json(const Report& report) {
  nlohmann::ordered_json json;
  json["command"] = report.command;
  json["fits"] = report.fits;
  add_budgets(json, report.budgets);
  json["settings"] = to_json(report.settings);
  if (!report.device_profile.empty()) json["device_profile"] = report.device_profile;
  json["mapped_bytes"] = report.mapped_bytes;
  json["planned"] = planned_json(report.planned_peak(), report.predicted_seconds());
  json["planned"]["at_peak"] = at_peak_json(report);
  if (!report.is_plan) {
    json["measured"] = {{"peak_bytes", space_json(report.measured_peak())}, {"seconds", report.seconds()}};
  }
  const std::vector<RankReport> ranks = report.ranks();
  if (!ranks.empty()) {
    const RankSettings& settings = report.settings.ranks;
    json["grid"] = {{"sharing_tokens", settings.sharing_tokens()}, {"sharing_heads", settings.sharing_heads()}};
  }
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    json["ranks"].push_back(rank_json(ranks[rank], rank, report.is_plan));
  }
  const std::vector<StoreReport> stores = report.stores();
  for (std::size_t i = 0; i < stores.size(); ++i) {
    json["stores"].push_back(store_json(stores[i], report.settings.stores[i], report.is_plan));
  }
  json["stages"] = nlohmann::ordered_json::array();
  for (const StageReport& stage : report.stages) {
    nlohmann::ordered_json& entry = json["stages"].emplace_back();
    entry["name"] = stage.name;
    entry["planned"] = planned_json(stage.planned_peak, stage.predicted_seconds());
    if (stage.predicted_seconds() > 0) {
      for (const ltxmem::Bound bound : ltxmem::bounds) {
        const double seconds = stage.planned_seconds[static_cast<std::size_t>(bound)];
        if (seconds > 0) entry["planned"]["seconds_by_bound"][std::string(bound_name(bound))] = seconds;
      }
    }
    if (!report.is_plan) {
      entry["measured"] = {{"peak_bytes", space_json(stage.measured_peak)}, {"seconds", stage.seconds}};
    }
    entry["operations"] = {{"flops", stage.operations.flops},
                           {"bytes", stage.operations.bytes},
                           {"transfer_bytes", stage.operations.transfer_bytes},
                           {"message_bytes", stage.operations.message_bytes},
                           {"disk_bytes", stage.operations.disk_bytes}};
  }
  json["warnings"] = report.warnings;
  return json;
}

}  // namespace ltx2
