// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/schedule.hpp"

#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"

namespace {

/// The digits printed in docs/ltx2/sampling.md 3.
void check_printed(const std::vector<float>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO("level " << i);
    CHECK(static_cast<double>(got[i]) == Approx(expected[i]).margin(6e-7).epsilon(0));
  }
}

}  // namespace

TEST_CASE("The dev schedule of 8 steps at 4096 tokens has the documented levels") {
  check_printed(ltx2::dev_schedule(8), {1, .965712, .921875, .863856, .783445, .664579, .471003, .1, 0});
}

TEST_CASE("The dev schedule of 30 steps at 4096 tokens has the documented levels") {
  check_printed(ltx2::dev_schedule(30),
                {1,       .994957, .989603, .983908, .977840, .971358, .964421, .956978, .948972, .940336, .930994,
                 .920854, .909810, .897735, .884479, .869858, .853651, .835584, .815319, .792427, .766363, .736418,
                 .701656, .660813, .612141, .553148, .480164, .387541, .266120, .1,      0});
}

TEST_CASE("The dev schedule of 40 steps begins and ends as documented") {
  const std::vector<float> sigmas = ltx2::dev_schedule(40);
  REQUIRE(sigmas.size() == 41);
  check_printed({sigmas.begin(), sigmas.begin() + 5}, {1, .996449, .992737, .988851, .984780});
  check_printed({sigmas.end() - 4, sigmas.end()}, {.337809, .233936, .1, 0});
}

TEST_CASE("The dev schedule goes on shifting beyond 4096 tokens") {
  check_printed(ltx2::dev_schedule(15, 8160), {1, .993491, .986015, .977340, .967151, .955015, .940314, .922140,
                                               .899096, .868923, .827707, .768028, .673897, .503378, .1, 0});
}

TEST_CASE("A dev schedule needs two steps and a token") {
  CHECK_THROWS_AS(ltx2::dev_schedule(1), ltxmem::ShapeError);
  CHECK_THROWS_AS(ltx2::dev_schedule(8, 0), ltxmem::ShapeError);
}

TEST_CASE("Distilled schedules are fixed lists, the second one the end of the first") {
  const std::vector<float> first = ltx2::distilled_schedule();
  const std::vector<float> second = ltx2::distilled_stage2_schedule();
  CHECK(first.size() == 9);
  CHECK(first[1] == 0.99375F);
  CHECK(second == std::vector<float>(first.end() - 4, first.end()));
}
