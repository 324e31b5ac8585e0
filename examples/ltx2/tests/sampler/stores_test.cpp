// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/store_case.hpp"

using namespace ltx2;
using namespace ltx2::test;

TEST_CASE("Every sampling case has the same bits with idle ranks for memory", "[golden][stores]") {
  for (const std::string& name : case_names("denoise")) {
    for (const Scheme scheme : {Scheme::e3, Scheme::e4}) {
      Settings settings = rank_settings(1);
      settings.scheme = scheme;
      check_case_on_stores("denoise", name, settings, {5000000, 3000000}, run_denoise_case);
    }
  }
}

TEST_CASE("So it has on several working ranks, with a saved prefix and streamed weights", "[golden][stores][ranks]") {
  for (const RankLayout layout : rank_layouts) {
    Settings settings = rank_settings(5, layout);
    settings.ranks.idle_primary = true;
    settings.scheme = Scheme::e4;
    settings.saved_prefix = ltxmem::MemorySpace::pinned;
    settings.weights.stream = true;
    check_case_on_stores("denoise", "v23_guided", settings, {5000000, 3000000}, run_denoise_case);
  }
}
