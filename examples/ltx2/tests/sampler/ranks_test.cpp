// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/rank_case.hpp"

using namespace ltx2;
using namespace ltx2::test;

TEST_CASE("Every sampling case of the reference passes on any number of ranks", "[golden][ranks]") {
  for (const std::string& name : case_names("denoise")) {
    check_case_on_ranks("denoise", name, rank_settings(1), run_denoise_case);
    for (const RankLayout layout : rank_layouts) {
      for (const int ranks : rank_counts(layout)) {
        check_case_on_ranks("denoise", name, rank_settings(ranks, layout), run_denoise_case);
      }
    }
  }
}

TEST_CASE("Sampling with an idle primary and uneven shares does", "[golden][ranks]") {
  Settings settings = rank_settings(4);
  settings.ranks.idle_primary = true;
  settings.ranks.weights = {2, 1, 1};
  settings.saved_prefix = ltxmem::MemorySpace::device;
  check_case_on_ranks("denoise", "v23_guided", settings, run_denoise_case);
  settings.ranks.layout = RankLayout::tensor;
  check_case_on_ranks("denoise", "v23_guided", settings, run_denoise_case);
}
