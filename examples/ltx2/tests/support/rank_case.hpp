// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "plan/fit.hpp"
#include "tests/support/golden_case.hpp"

/// Reference cases on several ranks.

namespace ltx2::test {

/// Settings for small cases with so many ranks.
inline Settings rank_settings(int ranks, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = case_settings(dtype);
  settings.ranks.count = ranks;
  return settings;
}

/// The case STAGE/NAME within its tolerance, twice with the same bits, in the memory and the messages that were
/// planned.
inline void check_case_on_ranks(const std::string& stage, const std::string& name, const Settings& settings,
                                HostTensors (*run)(const Case&, CaseModels&, Runtime&)) {
  const Case test = read_case(golden_path("cases/" + stage + "/" + name + ".safetensors"));
  INFO(stage << "/" << name << " on " << settings.ranks.count << " ranks, scheme " << scheme_name(settings.scheme));
  std::vector<HostTensors> results;
  for (int turn = 0; turn < 2; ++turn) {
    Runtime runtime(settings);
    CaseModels models(golden_models(), {}, runtime.host_memory());
    {
      const Stage open(runtime, stage);
      results.push_back(run(test, models, runtime));
    }
    CHECK(planning_defects(runtime.report()) == std::vector<std::string>{});
    CHECK(runtime.report().ranks().size() ==
          static_cast<std::size_t>(settings.ranks.count > 1 ? settings.ranks.count : 0));
  }
  const Difference difference = compare(test.expected, results[0]);
  INFO(difference.tensor << " " << difference.reason);
  REQUIRE_FALSE(test.expected.empty());
  CHECK(difference.relative <= test.tolerance);
  CHECK(compare(results[0], results[1]).relative == 0.0);
}

/// Names of the cases of a stage.
inline std::vector<std::string> case_names(const std::string& stage) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_path("cases/" + stage))) {
    names.push_back(entry.path().stem().string());
  }
  return names;
}

}  // namespace ltx2::test
