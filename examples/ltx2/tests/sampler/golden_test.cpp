// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.hpp"

namespace {

void check(const std::string& name) {
  ltx2::test::check_golden_case("denoise", name, ltx2::run_denoise_case);
}

}  // namespace

TEST_CASE("The schedules are the reference's", "[golden]") {
  ltx2::test::check_golden_case("schedule", "schedules", ltx2::run_schedule_case);
}
TEST_CASE("Distilled sampling ends where the reference does", "[golden]") {
  check("v23_distilled");
}
TEST_CASE("Sampling from an image does", "[golden]") {
  check("v23_distilled_i2v");
}
TEST_CASE("Sampling that starts from given latents does", "[golden]") {
  check("v23_stage2");
}
TEST_CASE("Sampling of 2.0 with a negative prompt does", "[golden]") {
  check("v20_cfg_only");
}
TEST_CASE("Sampling with every kind of guidance does", "[golden]") {
  check("v23_guided");
}
TEST_CASE("Guided sampling with an image and a keyframe does", "[golden]") {
  check("v23_guided_i2v_keyframe");
}
TEST_CASE("Second-order sampling does", "[golden]") {
  check("v23_res2s");
}
TEST_CASE("Second-order sampling with refined anchors does", "[golden]") {
  check("v23_res2s_bong_i2v");
}
