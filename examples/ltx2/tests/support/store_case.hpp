// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tests/support/rank_case.hpp"

/// Runs whose rows and weights leave the device for the memory of idle ranks.

namespace ltx2::test {

/// So many more ranks, which are stores with so many bytes free.
inline Settings with_stores(Settings settings, const std::vector<std::size_t>& free_bytes) {
  for (const std::size_t bytes : free_bytes) {
    settings.stores.push_back({ltxmem::DeviceKind::cpu, settings.ranks.count++, bytes});
  }
  settings.ranks.stores = static_cast<int>(free_bytes.size());
  return settings;
}

/// What a case gives, in planned memory, and the report of its stage.
inline std::pair<HostTensors, Report> run_planned(const Case& test, const std::string& stage, const Settings& settings,
                                                  HostTensors (*run)(const Case&, CaseModels&, Runtime&)) {
  Runtime runtime(settings);
  CaseModels models(golden_models(), {}, runtime.host_memory());
  HostTensors result;
  {
    const Stage open(runtime, stage);
    result = run(test, models, runtime);
  }
  CHECK(planning_defects(runtime.report()) == std::vector<std::string>{});
  return {std::move(result), std::move(runtime.report())};
}

/// The case STAGE/NAME with stores has the bits that it has with pinned memory, which then holds that much less.
inline void check_case_on_stores(const std::string& stage, const std::string& name, const Settings& settings,
                                 const std::vector<std::size_t>& free_bytes,
                                 HostTensors (*run)(const Case&, CaseModels&, Runtime&)) {
  const Case test = read_case(golden_path("cases/" + stage + "/" + name + ".safetensors"));
  INFO(stage << "/" << name << " on " << settings.ranks.count << " ranks, scheme " << scheme_name(settings.scheme)
             << ", " << free_bytes.size() << " stores");
  constexpr auto device = static_cast<std::size_t>(ltxmem::MemorySpace::device);
  constexpr auto pinned = static_cast<std::size_t>(ltxmem::MemorySpace::pinned);
  const auto [expected, on_host] = run_planned(test, stage, settings, run);
  const auto [got, on_stores] = run_planned(test, stage, with_stores(settings, free_bytes), run);
  CHECK_FALSE(expected.empty());
  CHECK(compare(expected, got).relative == 0.0);
  const StageReport& before = on_host.stages.back();
  const StageReport& after = on_stores.stages.back();
  CHECK(after.measured_peak[device] == before.measured_peak[device]);
  std::size_t stored = 0;
  for (const StoreReport& store : after.stores) stored += store.measured_peak;
  const std::size_t left = before.measured_peak[pinned] - after.measured_peak[pinned];
  CHECK(stored >= left);
  // Every part of a buffer is aligned on its own.
  CHECK(stored <=
        left + 16 * free_bytes.size() * ltxmem::buffer_alignment * static_cast<std::size_t>(settings.ranks.working()));
}

}  // namespace ltx2::test
