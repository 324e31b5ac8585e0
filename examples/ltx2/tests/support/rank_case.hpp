// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "plan/fit.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Reference cases on several ranks.

namespace ltx2::test {

/// Settings for small cases with so many ranks.
inline Settings rank_settings(int ranks, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = case_settings(dtype);
  settings.ranks.count = ranks;
  return settings;
}
inline Settings rank_settings(int ranks, RankLayout layout) {
  Settings settings = rank_settings(ranks);
  settings.ranks.layout = layout;
  return settings;
}

/// Numbers of ranks that make for different grids in a layout: of both, 2, 3 and 7 are those of sequence.
inline std::vector<int> rank_counts(RankLayout layout) {
  if (layout == RankLayout::both) return {4, 6};
  return {2, 3, 4, 7};
}

/// The case STAGE/NAME within its tolerance, twice with the same bits, in the memory and the messages that were
/// planned.
inline void check_case_on_ranks(const std::string& stage, const std::string& name, const Settings& settings,
                                HostTensors (*run)(const Case&, CaseModels&, Runtime&)) {
  const Case test = read_case(golden_path("cases/" + stage + "/" + name + ".safetensors"));
  INFO(stage << "/" << name << " on " << settings.ranks.count << " ranks, " << rank_layout_name(settings.ranks.layout)
             << ", scheme " << scheme_name(settings.scheme));
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

/// The largest difference, relative to the largest value; no number where a value is none.
inline double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  double scale = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double apart = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (std::isnan(apart)) return apart;
    most = std::max(most, apart);
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return a.size() == b.size() ? most / scale : 1.0;
}

/// One pass, and the report of its stage.
struct Ran {
  std::vector<float> values;
  StageReport stage;
};

/// A pass in the memory and with the messages that were planned.
inline Ran run_pass(MadeUpInput& input, const Checkpoint& checkpoint, const Settings& settings) {
  Runtime runtime(settings);
  Ran ran;
  {
    const Stage stage(runtime, "pass");
    ran.values = input.run(runtime, checkpoint);
  }
  CHECK(planning_defects(runtime.report()) == std::vector<std::string>{});
  ran.stage = runtime.report().stages.back();
  return ran;
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
