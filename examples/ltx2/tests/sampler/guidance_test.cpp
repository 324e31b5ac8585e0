// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/guidance.hpp"

#include <vector>

#include "support/catch.hpp"

using ltx2::Pass;
using Passes = std::vector<Pass>;

TEST_CASE("Without guidance a step is one pass") {
  const ltx2::StepPlan plan = ltx2::plan_step({}, 5);
  CHECK(plan.video);
  CHECK(plan.audio);
  CHECK(plan.passes == Passes{Pass::conditional});
}

TEST_CASE("A pass runs when either modality weighs it") {
  ltx2::Guidance guidance;
  guidance.audio.cfg = 7;
  CHECK(ltx2::plan_step(guidance, 0).passes == Passes{Pass::conditional, Pass::unconditional});
  guidance.video.stg = 1;
  CHECK(ltx2::plan_step(guidance, 0).passes == Passes{Pass::conditional, Pass::unconditional, Pass::perturbed});
  guidance.video.modality = 3;
  CHECK(ltx2::plan_step(guidance, 0).passes.size() == 4);
}

TEST_CASE("A skipped modality neither is predicted nor asks for passes") {
  ltx2::Guidance guidance;
  guidance.video.cfg = 3;
  guidance.video.skip_step = 2;
  CHECK(ltx2::plan_step(guidance, 0).passes.size() == 2);
  const ltx2::StepPlan second = ltx2::plan_step(guidance, 1);
  CHECK_FALSE(second.video);
  CHECK(second.passes == Passes{Pass::conditional});
  CHECK(ltx2::plan_step(guidance, 3).video);
}

TEST_CASE("A step that predicts nothing has no pass") {
  ltx2::Guidance guidance;
  guidance.video.skip_step = 1;
  guidance.audio.skip_step = 1;
  CHECK(ltx2::plan_step(guidance, 1).passes.empty());
}

TEST_CASE("Weights are deviations from the neutral strengths") {
  const ltx2::ModalityGuidance guidance{
      .cfg = 3, .stg = 0.5F, .modality = 4, .rescale = 0, .stg_blocks = {}, .skip_step = 0};
  CHECK(ltx2::guidance_weight(guidance, Pass::unconditional) == 2.0F);
  CHECK(ltx2::guidance_weight(guidance, Pass::perturbed) == 0.5F);
  CHECK(ltx2::guidance_weight(guidance, Pass::isolated) == 3.0F);
  CHECK(ltx2::guidance_weight(guidance, Pass::conditional) == 0.0F);
}

TEST_CASE("The standard deviation is the unbiased one") {
  const std::vector<float> x{1, 2, 3, 4, 5, 9};
  CHECK(ltx2::standard_deviation({x.data(), {2, 3}}) == Approx(2.8284271247461903));
}

TEST_CASE("Rescaling in full gives the guided prediction the deviation of the plain one") {
  const std::vector<float> plain{1, 2, 3, 4};
  std::vector<float> guided{3, 6, 9, 12};
  ltx2::rescale_guided(1.0F, {plain.data(), {2, 2}}, {guided.data(), {2, 2}});
  CHECK(guided[3] == Approx(4));
}

TEST_CASE("Rescaling in part mixes the two factors") {
  const std::vector<float> plain{1, 2, 3, 4};
  std::vector<float> guided{2, 4, 6, 8};
  ltx2::rescale_guided(0.5F, {plain.data(), {2, 2}}, {guided.data(), {2, 2}});
  CHECK(guided[0] == Approx(1.5));
}

TEST_CASE("The conditional and the perturbed pass share the blocks before the first perturbed one") {
  ltx2::Guidance guidance;
  guidance.video.stg_blocks = {28, 29};
  CHECK(ltx2::shared_blocks(guidance) == 0);  // strength 0: no perturbed pass
  guidance.video.stg = 1.0F;
  CHECK(ltx2::shared_blocks(guidance) == 28);
  guidance.audio.stg_blocks = {7};
  CHECK(ltx2::shared_blocks(guidance) == 28);
  guidance.audio.stg = 0.5F;
  CHECK(ltx2::shared_blocks(guidance) == 7);
  guidance.audio.stg_blocks.clear();
  guidance.video.stg_blocks.clear();
  CHECK(ltx2::shared_blocks(guidance) == 0);
}
