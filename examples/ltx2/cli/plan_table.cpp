// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_table.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "cli/messages.hpp"
#include "plan/fit.hpp"
#include "plan/hidden_link.hpp"
#include "runtime/scheme.hpp"
#include "runtime/size.hpp"

namespace ltx2 {
namespace {

constexpr double seconds_per_day = 86400;

/// What most of a stage's time goes to.
std::string bound_of(const StageReport& stage) {
  const auto most = std::max_element(stage.planned_seconds.begin(), stage.planned_seconds.end());
  if (most == stage.planned_seconds.end() || *most == 0) return "";
  return std::string(bound_name(ltxmem::bounds[static_cast<std::size_t>(most - stage.planned_seconds.begin())]));
}

void print_stage(const std::string& name, const SpaceBytes& peak, double seconds, const std::string& bound) {
  std::printf("%-14s", name.c_str());
  for (const std::size_t bytes : peak) std::printf(" %12s", bytes == 0 ? "-" : format_bytes(bytes).c_str());
  std::printf(" %12s  %s\n", duration_text(seconds).c_str(), bound.c_str());
}

void print_peak(const ltxmem::MemoryPeak& peak) {
  if (peak.bytes == 0) return;
  std::printf("\n%s memory: %s in %s\n", std::string(memory_space_name(peak.space)).c_str(),
              format_bytes(peak.bytes).c_str(), peak.step.c_str());
  for (const ltxmem::BufferSum& buffer : peak.buffers) {
    const double share = 100.0 * static_cast<double>(buffer.bytes) / static_cast<double>(peak.bytes);
    if (share < 0.05) continue;
    std::printf("  %-32s %12s %6.1f %%\n", buffer.name.c_str(), format_bytes(buffer.bytes).c_str(), share);
  }
}

/// Ranks that take the same are one line, named by the first of them.
void print_ranks(const Report& report) {
  const std::vector<RankReport> ranks = report.ranks();
  if (ranks.empty()) return;
  std::printf("\n%-14s %12s %12s %12s\n", "ranks", "device", "messages", "predicted");
  for (auto rank = ranks.begin(); rank != ranks.end(); ++rank) {
    if (std::find(ranks.begin(), rank, *rank) != rank) continue;
    const auto alike = std::count(rank, ranks.end(), *rank);
    const std::string first = std::to_string(rank - ranks.begin());
    std::printf("%-14s %12s %12s %12s\n",
                (alike == 1 ? "rank " + first : std::to_string(alike) + " like " + first).c_str(),
                format_bytes(rank->planned_peak).c_str(),
                format_bytes(static_cast<std::size_t>(rank->planned_message_bytes)).c_str(),
                duration_text(rank->planned_seconds).c_str());
  }
  double waiting = 0;
  for (const StageReport& stage : report.stages) {
    waiting += stage.planned_seconds[static_cast<std::size_t>(ltxmem::Bound::network)];
  }
  std::printf("of that waiting for messages: %s\n", duration_text(waiting).c_str());
  const RankSettings& grid = report.settings.ranks;
  std::printf("parallel %s: tokens shared by %d, heads by %d\n", std::string(rank_layout_name(grid.layout)).c_str(),
              grid.sharing_tokens(), grid.sharing_heads());
}

void print_stores(const Report& report) {
  const std::vector<StoreReport> stores = report.stores();
  if (stores.empty()) return;
  std::printf("\n%-14s %12s %12s\n", "stores", "device", "free");
  for (std::size_t i = 0; i < stores.size(); ++i) {
    const StoreSettings& store = report.settings.stores[i];
    const std::string free = store.free_bytes == StoreSettings::unlimited ? "-" : format_bytes(store.free_bytes);
    std::printf("%-14s %12s %12s\n", store.name().c_str(), format_bytes(stores[i].planned.bytes).c_str(), free.c_str());
  }
  const WeightPlacement& weights = report.settings.weights;
  if (weights.stream) {
    std::printf("of the streamed blocks %lld stay there\n", static_cast<long long>(weights.stored_blocks));
  }
}

}  // namespace

std::vector<std::string> plan_warnings(const GenerateRequest& request, const Report& plan) {
  std::vector<std::string> warnings = clip_warnings(request);
  for (std::string& warning : store_warnings(plan)) warnings.push_back(std::move(warning));
  if (plan.predicted_seconds() >= seconds_per_day) {
    warnings.push_back("the run takes " + duration_text(plan.predicted_seconds()) + " on " + plan.device_profile);
  }
  return warnings;
}

std::string duration_text(double seconds) {
  if (seconds < 100) return shortest_text(seconds) + " s";
  if (seconds < 6000) return shortest_text(seconds / 60) + " min";
  if (seconds < 2 * seconds_per_day) return shortest_text(seconds / 3600) + " h";
  return shortest_text(seconds / seconds_per_day) + " days";
}

void print_plan(const GenerateRequest& request, const JobPlan& plan, const ltxmem::DeviceProfile& profile) {
  const Report& report = plan.report;
  const Settings& settings = report.settings;
  std::printf("%s, %lld x %lld, %lld frames at %s per second (%s s), on %s\n",
              std::string(pipeline_name(request.pipeline)).c_str(), static_cast<long long>(request.width),
              static_cast<long long>(request.height), static_cast<long long>(request.frames),
              shortest_text(request.fps).c_str(),
              shortest_text(static_cast<double>(request.frames) / request.fps).c_str(), report.device_profile.c_str());
  std::printf("scheme %s, query tile %lld, key tile %lld, feed-forward chunk %lld, weights %s\n",
              std::string(scheme_name(settings.scheme)).c_str(), static_cast<long long>(settings.query_tile),
              static_cast<long long>(settings.key_tile), static_cast<long long>(settings.ffn_chunk),
              weights_text(settings.weights).c_str());
  std::printf("E3 and E4 hide the link from query tiles of %lld tokens on\n\n",
              static_cast<long long>(hiding_query_tile(profile, settings.dtype, !settings.stores.empty())));
  std::printf("%-14s %12s %12s %12s %12s  %s\n", "stage", "device", "pinned", "host", "predicted", "bound by");
  for (const StageReport& stage : report.stages) {
    print_stage(stage.name, stage.planned_peak, stage.predicted_seconds(), bound_of(stage));
  }
  print_stage("whole job", report.planned_peak(), report.predicted_seconds(), "");
  print_ranks(report);
  print_stores(report);
  for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) print_peak(plan.peak(space));
  if (report.settings.device.kind == ltxmem::DeviceKind::cuda) {
    std::printf(
        "\nWorkspaces are those of the CUDA backend; what its driver and code take of the device is not in the "
        "plan.\n");
  }
}

}  // namespace ltx2
