// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
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

}  // namespace

SpaceBytes Report::planned_peak() const {
  return maximum(stages, &StageReport::planned_peak);
}
SpaceBytes Report::measured_peak() const {
  return maximum(stages, &StageReport::measured_peak);
}

double Report::seconds() const {
  double sum = 0;
  for (const StageReport& stage : stages) sum += stage.seconds;
  return sum;
}

nlohmann::ordered_json to_json(const Report& report) {
  nlohmann::ordered_json json;
  json["command"] = report.command;
  json["settings"] = {
      {"scheme", scheme_name(report.settings.scheme)},
      {"query-tile", report.settings.query_tile},
      {"key-tile", report.settings.key_tile},
      {"ffn-chunk", report.settings.ffn_chunk},
      {"saved-prefix", saved_prefix_name(report.settings)},
      {"dtype", report.settings.dtype == ltxmem::DType::f32 ? "f32" : "bf16"},
      {"threads", report.settings.threads},
      {"device", "cpu"},
  };
  json["mapped_bytes"] = report.mapped_bytes;
  json["planned"] = {{"peak_bytes", space_json(report.planned_peak())}};
  json["measured"] = {{"peak_bytes", space_json(report.measured_peak())}, {"seconds", report.seconds()}};
  json["stages"] = nlohmann::ordered_json::array();
  for (const StageReport& stage : report.stages) {
    json["stages"].push_back({
        {"name", stage.name},
        {"planned", {{"peak_bytes", space_json(stage.planned_peak)}}},
        {"measured", {{"peak_bytes", space_json(stage.measured_peak)}, {"seconds", stage.seconds}}},
        {"operations",
         {{"flops", stage.operations.flops},
          {"bytes", stage.operations.bytes},
          {"transfer_bytes", stage.operations.transfer_bytes},
          {"message_bytes", 0}}},
    });
  }
  json["warnings"] = report.warnings;
  return json;
}

}  // namespace ltx2
