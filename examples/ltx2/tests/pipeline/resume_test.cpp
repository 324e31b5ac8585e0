// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/io/safetensors_writer.hpp"
#include "pipeline/pipeline.hpp"
#include "pipeline/state_file.hpp"
#include "plan/fit.hpp"
#include "plan/plan_job.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/program.hpp"

/// Runs that go on from the finished steps of another one.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::same_bits;

GenerateRequest small_request(PipelineKind pipeline, const std::string& lora) {
  const TinyModels& models = TinyModels::get();
  GenerateRequest request;
  request.pipeline = pipeline;
  request.checkpoint = models.checkpoint();
  request.gemma = models.gemma();
  if (request.has_two_stages()) request.upsampler = models.upsampler();
  if (pipeline == PipelineKind::two_stage || pipeline == PipelineKind::hq) {
    request.distilled_lora = LoraRequest{lora, 1.0F};
  }
  request.prompt = "a lighthouse";
  request.negative_prompt = "fog";
  request.max_length = 128;
  request.width = 64;
  request.height = 64;
  request.frames = 9;
  if (request.is_guided()) {
    request.steps = 4;
    request.guidance.video = {.cfg = 3.0F, .stg = 1.0F, .rescale = 0.5F, .stg_blocks = {1}, .skip_step = 1};
    request.guidance.audio.cfg = 2.0F;
    request.guidance.audio.skip_step = 2;
  }
  validate(request);
  return request;
}

/// A request with its models, and what its clip follows from.
struct Job {
  explicit Job(PipelineKind pipeline, const std::string& lora = "")
      : request(small_request(pipeline, lora)), models(request, host) {}

  StateFile state(const std::string& output) {
    return StateFile(output, [this] { return facts; });
  }

  ltxmem::HostResource host;
  GenerateRequest request;
  Models models;
  Facts facts = clip_facts(request, models, ltxmem::DType::f32);
};

std::vector<float> values_of(const Sample& sample) {
  std::vector<float> values;
  for (const auto& view : {sample.result.video.view(), sample.result.audio.view()}) {
    values.insert(values.end(), view.data(), view.data() + view.size());
  }
  return values;
}

}  // namespace

TEST_CASE("A run that goes on after any finished step makes what an undisturbed one makes, as planned", "[resume]") {
  const ScratchFolder folder;
  const std::string lora = folder / "lora.safetensors";
  synthesise(read_description(golden_path("configs/lora_tiny.json")), lora);
  for (const PipelineKind pipeline :
       {PipelineKind::distilled, PipelineKind::two_stage, PipelineKind::hq, PipelineKind::one_stage}) {
    Job job(pipeline, lora);
    std::vector<std::string> outputs;  // one for each step
    std::vector<float> expected;
    {
      Runtime runtime(case_settings());
      PipelineHooks hooks;
      hooks.on_step = [&](const SavedSteps& steps) {
        outputs.push_back(folder / (std::string(pipeline_name(pipeline)) + std::to_string(outputs.size())));
        job.state(outputs.back()).write(steps);
      };
      expected = values_of(run_pipeline(job.request, job.models, {}, runtime, hooks));
    }
    const std::size_t steps = pipeline == PipelineKind::distilled ? 8 : 4;
    REQUIRE(outputs.size() == steps + (job.request.has_two_stages() ? 3 : 0));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      CAPTURE(outputs[i]);
      StateFile state = job.state(outputs[i]);
      const SavedSteps& resume = state.open();
      CHECK(resume.stage == (i < steps ? 1 : 2));
      CHECK(resume.steps.done == static_cast<std::int64_t>(i < steps ? i + 1 : i + 1 - steps));
      std::size_t left = 0;
      // Ranks and memory are another run's own business.
      Settings settings = case_settings();
      settings.scheme = Scheme::e4;
      settings.query_tile = 256;
      const JobPlan plan =
          plan_job(job.request, job.models, settings, Runtime::DryRun(), 0, WeightPlacement::all_cached, &resume);
      Runtime runtime(settings);
      PipelineHooks hooks;
      hooks.resume = &resume;
      hooks.on_step = [&](const SavedSteps&) { ++left; };
      const Sample sample = run_pipeline(job.request, job.models, {}, runtime, hooks);
      CHECK(same_bits(values_of(sample), expected));
      CHECK(left == outputs.size() - i - 1);
      Report planned = plan.report;
      planned.stages.resize(runtime.report().stages.size());  // without the decoders
      adopt_plan(runtime.report(), planned);
      CHECK(planning_defects(runtime.report()) == std::vector<std::string>());
    }
  }
}

TEST_CASE("Steps are gone on with on another number of ranks", "[resume][ranks]") {
  const ScratchFolder folder;
  Job job(PipelineKind::distilled);
  StateFile state = job.state(folder / "clip");
  const auto run_on = [&](int ranks, const SavedSteps* resume, int until) {
    Settings settings = case_settings();
    settings.ranks.count = ranks;
    Runtime runtime(settings);
    PipelineHooks hooks;
    hooks.resume = resume;
    int step = 0;
    hooks.on_step = [&](const SavedSteps& steps) {
      if (++step != until) return;
      state.write(steps);
      throw ltxmem::RankError(1, "made to fail");
    };
    return values_of(run_pipeline(job.request, job.models, {}, runtime, hooks));
  };
  const std::vector<float> expected = run_on(1, nullptr, 0);
  CHECK_THROWS_AS(run_on(3, nullptr, 5), ltxmem::RankError);
  const SavedSteps& resume = state.open();
  for (const int ranks : {2, 1}) {
    const std::vector<float> values = run_on(ranks, &resume, 0);
    REQUIRE(values.size() == expected.size());
    double most = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      most = std::max(most, std::abs(static_cast<double>(values[i]) - static_cast<double>(expected[i])));
    }
    CHECK(most < 1e-3);
  }
}

TEST_CASE("A file that does not hold finished steps of the clip is refused, and by what", "[resume][malformed]") {
  const ScratchFolder folder;
  Job job(PipelineKind::distilled);
  const std::string path = folder / "clip.y4m.state";
  const auto refusal = [&](const Facts& wanted) {
    try {
      StateFile(folder / "clip.y4m", [&] { return wanted; }).open();
    } catch (const ltxmem::IoError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(refusal(job.facts), Contains(path) && Contains("no finished steps"));
  const std::vector<float> latent(8, 0.5F);
  SavedSteps steps;
  steps.video = steps.audio = {latent.data(), {2, 4}};
  steps.steps.done = 1;
  steps.steps.total = 8;
  StateFile written = job.state(folder / "clip.y4m");
  written.write(steps);
  CHECK(refusal(job.facts).empty());

  Facts others = job.facts;
  const auto seed = std::find_if(others.begin(), others.end(), [](const auto& fact) { return fact.first == "--seed"; });
  REQUIRE(seed != others.end());
  seed->second = "11";
  CHECK_THAT(refusal(others), Contains(path) && Contains("--seed '10', expected '11'"));
  others = job.facts;
  others.pop_back();
  CHECK_THAT(refusal(others), Contains("--dtype 'F32', expected nothing"));

  // Right facts, wrong shapes or steps: found by the plan, before any work.
  const auto plan = [&](const SavedSteps& resume) {
    try {
      plan_job(job.request, job.models, case_settings(), Runtime::DryRun(), 0, WeightPlacement::all_cached, &resume);
    } catch (const ltxmem::ShapeError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(plan(steps), Contains("latent of 2 x 4 to resume from"));
  steps.stage = 3;
  CHECK_THAT(plan(steps), Contains("to resume in stage 3, expected 1 or 2"));

  steps.stage = 1;
  steps.steps.done = 0;
  written.write(steps);
  CHECK_THAT(refusal(job.facts), Contains("no step is finished"));
  for (const char* position : {"[1, 1e300, 8]", "[1, \"1\", 8]", "[1]", "{}", "1"}) {
    ltxmem::SafetensorsWriter writer(path, {},
                                     {{"format", "ltx2 finished steps 1"}, {"facts", "[]"}, {"position", position}});
    writer.commit();
    CHECK_THAT(refusal(job.facts), Contains(path) && Contains("does not say which steps"));
  }
  written.write(steps);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  CHECK_THAT(refusal(job.facts), Contains(path));
  write_text(path, "not a safetensors file");
  CHECK_THAT(refusal(job.facts), Contains(path));
  std::filesystem::copy_file(TinyModels::get().checkpoint(), path, std::filesystem::copy_options::overwrite_existing);
  CHECK_THAT(refusal(job.facts), Contains(path) && Contains("not finished steps of a run"));
}
