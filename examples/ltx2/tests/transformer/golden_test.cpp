// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.hpp"

namespace {

void check(const std::string& name) {
  ltx2::test::check_golden_case("transformer", name, ltx2::run_transformer_case);
}

}  // namespace

TEST_CASE("The 2.0 transformer gives the reference's velocities", "[golden]") {
  check("v20_t2v");
}
TEST_CASE("The 2.0 transformer takes a timestep per token", "[golden]") {
  check("v20_i2v");
}
TEST_CASE("The 2.0 transformer leaves self attention out of a block", "[golden]") {
  check("v20_stg_block2");
}
TEST_CASE("The 2.3 transformer gives the reference's velocities", "[golden]") {
  check("v23_t2v");
}
TEST_CASE("The 2.3 transformer takes a timestep per token", "[golden]") {
  check("v23_i2v");
}
TEST_CASE("The 2.3 transformer leaves self attention out of a block", "[golden]") {
  check("v23_stg_block1");
}
TEST_CASE("The transformer runs samples of a batch with perturbations of their own", "[golden]") {
  check("v23_batch2");
}
TEST_CASE("The transformer turns adjacent pairs where the configuration says interleaved", "[golden]") {
  check("v23_interleaved");
}
TEST_CASE("The transformer weakens attention by a mask", "[golden]") {
  check("v23_attention_mask");
}
TEST_CASE("The transformer takes appended tokens with positions of their own", "[golden]") {
  check("v23_keyframe");
}
TEST_CASE("The transformer runs without video", "[golden]") {
  check("v23_audio_only");
}
TEST_CASE("The transformer runs without audio", "[golden]") {
  check("v23_video_only");
}
TEST_CASE("A disabled audio stays as it is and is still heard by the video", "[golden]") {
  check("v23_audio_disabled");
}
TEST_CASE("Without cross-modal attention the streams do not see each other", "[golden]") {
  check("v23_no_cross_modal");
}
TEST_CASE("The transformer runs fp8 weights with their factors", "[golden]") {
  check("v23_fp8");
}
TEST_CASE("A LoRA of full strength acts like fused weights", "[golden]") {
  ltx2::test::check_golden_case("lora", "v23_lora_1", ltx2::run_transformer_case);
}
TEST_CASE("A LoRA of half strength acts like fused weights", "[golden]") {
  ltx2::test::check_golden_case("lora", "v23_lora_0.5", ltx2::run_transformer_case);
}
