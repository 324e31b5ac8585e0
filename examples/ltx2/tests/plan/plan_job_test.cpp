// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_job.hpp"

#include <string>
#include <string_view>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "pipeline/pipeline.hpp"
#include "plan/fit.hpp"
#include "plan/known_models.hpp"
#include "plan/search.hpp"
#include "tests/support/golden_case.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;

Report run_case_with(Runtime& runtime, const Case& test, CaseModels& models) {
  {
    std::optional<Stage> stage;
    if (test.stage != "generate") stage.emplace(runtime, test.stage);
    run_case(test, models, runtime);
  }
  return runtime.report();
}

/// The dry run of a case must plan every stage of the run to the byte.
void expect_planned(const std::string& path, const Settings& settings) {
  const Case test = read_case(golden_path("cases/" + path + ".safetensors"));
  ltxmem::HostResource host;
  CaseModels models(golden_models(), {}, host);
  Runtime dry(settings, Runtime::DryRun());
  Runtime real(settings);
  const Report plan = run_case_with(dry, test, models);
  Report run = run_case_with(real, test, models);
  adopt_plan(run, plan);
  CAPTURE(path);
  CHECK(planning_defects(run) == std::vector<std::string>());
  CHECK(run.measured_peak()[0] > 0);
  CHECK(plan.measured_peak() == SpaceBytes());
}

Settings with_scheme(Scheme scheme) {
  Settings settings = case_settings();
  settings.scheme = scheme;
  return settings;
}

/// Parameters below a prefix.
std::int64_t parameters(const Checkpoint& checkpoint, std::string_view prefix) {
  std::int64_t sum = 0;
  for (const StoredTensor& tensor : checkpoint.tensors().tensors()) {
    if (tensor.name.starts_with(prefix)) sum += static_cast<std::int64_t>(tensor.bytes) / 2;
  }
  return sum;
}

double millions(std::int64_t count) {
  return static_cast<double>(count) * 1e-6;
}

GenerateRequest long_clip(PipelineKind pipeline = PipelineKind::distilled) {
  GenerateRequest request;
  request.pipeline = pipeline;
  request.width = 1920;
  request.height = 1088;
  request.frames = 897;
  const PipelinePreset preset = pipeline_preset(pipeline, ModelVersion::v2_3);
  request.steps = preset.steps;
  request.guidance = preset.guidance;
  return request;
}

}  // namespace

TEST_CASE("The dry run of the whole pipeline plans every stage to the byte", "[plan]") {
  expect_planned("generate/v23_i2v", case_settings());
}
TEST_CASE("So it does in bf16") {
  expect_planned("generate/v23_i2v", case_settings(ltxmem::DType::bf16));
}
TEST_CASE("So it does where keys, values and x are in host memory") {
  expect_planned("generate/v23_i2v", with_scheme(Scheme::e4));
}
TEST_CASE("So it does with streamed weights") {
  Settings settings = with_scheme(Scheme::e3);
  settings.weights.stream = true;
  expect_planned("generate/v23_i2v", settings);
}
TEST_CASE("The dry run of guided sampling with keyframes plans it to the byte") {
  expect_planned("denoise/v23_guided_i2v_keyframe", case_settings());
}
TEST_CASE("The dry run of second-order sampling plans it to the byte") {
  expect_planned("denoise/v23_res2s_bong_i2v", with_scheme(Scheme::e2));
}

TEST_CASE("The built-in 2.3 model has the parameters of the released one") {
  const Models models(known_models(ModelVersion::v2_3));
  CHECK(millions(parameters(models.model(), "vae.encoder.")) == Approx(318.9).margin(0.1));
  CHECK(millions(parameters(models.model(), "vae.decoder.")) == Approx(407.2).margin(0.1));
  CHECK(millions(parameters(models.model(), "vocoder.")) == Approx(129.1).margin(0.8));
  CHECK(millions(parameters(models.gemma(), "")) == Approx(11766).margin(1));
  CHECK(millions(parameters(models.upsampler(), "")) == Approx(497.9).margin(0.1));
  CHECK(models.model().config().transformer->layers == 48);
  CHECK(models.mapped_bytes() == 0);
}
TEST_CASE("The built-in 2.0 model has the parameters of the released one") {
  const Models models(known_models(ModelVersion::v2_0));
  CHECK(millions(parameters(models.model(), "vae.encoder.")) == Approx(694.1).margin(0.1));
  CHECK(millions(parameters(models.model(), "vae.decoder.")) == Approx(528.4).margin(0.1));
  CHECK(millions(parameters(models.model(), "audio_vae.decoder.")) == Approx(31.9).margin(0.1));
  CHECK(millions(parameters(models.model(), "vocoder.")) == Approx(55.6).margin(0.1));
}

TEST_CASE("A plan of the full model names stages, peaks and times") {
  Models models(known_models(ModelVersion::v2_3));
  const JobPlan plan = plan_job(long_clip(), models, Settings(), {ltxmem::find_device_profile("rtx4090")});
  std::vector<std::string> names;
  for (const StageReport& stage : plan.report.stages) names.push_back(stage.name);
  CHECK(names == std::vector<std::string>{"text", "stage 1", "upsample", "stage 2", "audio decode", "video decode"});
  for (const StageReport& stage : plan.report.stages) {
    CAPTURE(stage.name);
    CHECK(stage.predicted_seconds() > 0);
    std::size_t sum = 0;
    for (const ltxmem::BufferSum& buffer : stage.at_peak[0].buffers) sum += buffer.bytes;
    CHECK(sum == stage.planned_peak[0]);
    CHECK(stage.at_peak[0].step.starts_with(stage.name));
    CHECK_FALSE(stage.parts.empty());
  }
  // x, keys and values of 230,520 tokens are three times 1.89 GB.
  CHECK(plan.report.stages[3].planned_peak[0] > 3 * std::size_t{230520} * 8192);
}

TEST_CASE("On a device that does not read files streamed weights take its memory") {
  Models models(known_models(ModelVersion::v2_3));
  const auto device_peak = [&](std::int64_t slots) {
    Settings settings;
    settings.weights = {.stream = slots > 0, .slots = slots > 0 ? slots : 2, .device_reads_files = false};
    return plan_job(long_clip(), models, settings, {}).report.stages[3].planned_peak[0];
  };
  const std::size_t two = device_peak(2);
  const std::size_t three = device_peak(3);
  const std::size_t all = device_peak(0);
  CHECK(three > two + (std::size_t{400} << 20));  // a block has 0.45 G parameters in bf16
  CHECK(all > two + (std::size_t{20} << 30));
}

TEST_CASE("On a device that does not read files every stage has its weights in the device's memory") {
  Models models(known_models(ModelVersion::v2_3));
  const auto device_peaks = [&](bool reads_files) {
    Settings settings;
    settings.weights = {.stream = true, .device_reads_files = reads_files};
    std::vector<std::size_t> peaks;
    for (const StageReport& stage : plan_job(long_clip(), models, settings, {}).report.stages) {
      peaks.push_back(stage.planned_peak[0]);
    }
    return peaks;
  };
  const std::vector<std::size_t> with = device_peaks(false);
  const std::vector<std::size_t> without = device_peaks(true);
  const auto more = [&](std::size_t stage) { return 1e-6 * static_cast<double>(with[stage] - without[stage]); };
  CHECK(more(2) == Approx(2 * 497.9).margin(0.5));  // the upsampler, in bf16
  CHECK(more(4) == Approx(2 * 129.1).margin(2));    // the vocoder, after the autoencoder
  CHECK(more(5) == Approx(2 * 407.2).margin(0.5));
  CHECK(more(0) >= 2 * 262208 * 3840 * 1e-6);
}

TEST_CASE("A plan that breaks a budget by one byte says so and what would fit") {
  Models models(known_models(ModelVersion::v2_3));
  const auto plan_with = [&](const Settings& settings) { return plan_job(long_clip(), models, settings, {}); };
  Settings settings;
  const JobPlan plan = plan_with(settings);
  ltxmem::MemoryBudget budget{"device", {ltxmem::MemorySpace::device}, plan.report.planned_peak()[0], 0};
  CHECK_FALSE(choose_plan(settings, {}, std::span(&budget, 1), plan_with).misfit);
  --budget.bytes;
  const auto misfit = find_misfit(plan.report, std::span(&budget, 1));
  REQUIRE(misfit);
  CHECK(misfit->need_bytes == budget.bytes + 1);
  CHECK(misfit->peak.step == plan.peak(ltxmem::MemorySpace::device).step);
  CHECK_THROWS_AS(plan_within(settings, {}, std::span(&budget, 1), plan_with), ltxmem::DoesNotFit);
}

namespace {

/// Needs as many gibibytes as kept tiles weigh, and the less time the more memory it takes.
JobPlan made_up_plan(const Settings& settings) {
  JobPlan plan;
  plan.report.settings = settings;
  StageReport& stage = plan.report.stages.emplace_back();
  const auto scheme = static_cast<std::size_t>(settings.scheme);
  stage.planned_peak[0] = (5 - scheme) * 100000 + static_cast<std::size_t>(settings.query_tile);
  stage.at_peak[0] = {ltxmem::MemorySpace::device, stage.planned_peak[0], "stage 1", {}};
  stage.planned_seconds[0] = 1e6 / static_cast<double>(stage.planned_peak[0]);
  return plan;
}

}  // namespace

TEST_CASE("A search takes the fastest plan that fits, and another one when a byte is missing") {
  ltxmem::MemoryBudget budget{"device", {ltxmem::MemorySpace::device}, 1 << 30, 0};
  const auto chosen = [&] {
    return plan_within(Settings(), Automatic::everything(0), std::span(&budget, 1), made_up_plan).report;
  };
  const Report roomy = chosen();
  CHECK(roomy.settings.scheme == Scheme::e1);
  CHECK(roomy.settings.query_tile == 8192);
  budget.bytes = roomy.planned_peak()[0];
  CHECK(chosen().settings.query_tile == 8192);
  --budget.bytes;
  CHECK(chosen().settings.query_tile == 4096);
  budget.bytes = 200000;
  CHECK(chosen().settings.scheme == Scheme::e4);
  budget.bytes = 100255;
  CHECK_THROWS_AS(chosen(), ltxmem::DoesNotFit);
}

TEST_CASE("Streamed blocks fill what a plan leaves of the stores, as far as all budgets hold") {
  constexpr std::size_t rows = 1000;
  constexpr std::size_t block = 300;
  Settings settings;
  settings.weights.stream = true;
  settings.weights.resident_blocks = 3;
  settings.ranks = {.count = 3, .stores = 2};
  settings.stores = {{.index = 1, .free_bytes = 5000}, {.index = 2, .free_bytes = 4000}};
  std::vector<std::int64_t> tried;
  const auto plan_with = [&](const Settings& candidate) {
    tried.push_back(candidate.weights.stored_blocks);
    JobPlan plan = made_up_plan(candidate);
    StageReport& stage = plan.report.stages.front();
    stage.stores.resize(2);
    for (StoreReport& store : stage.stores) {
      store.planned.bytes = rows + block * static_cast<std::size_t>(candidate.weights.stored_blocks);
    }
    stage.at_peak[2] = {ltxmem::MemorySpace::host, stage.stores[0].planned.bytes, "", {}};  // for a budget beside
    return plan;
  };
  ltxmem::MemoryBudget budget{"host", {ltxmem::MemorySpace::host}, 1 << 20, 0};
  const auto stored = [&](std::int64_t most) {
    tried.clear();
    const Choice choice = choose_plan(settings, {.stored_blocks = most}, std::span(&budget, 1), plan_with);
    REQUIRE_FALSE(choice.misfit);
    return choice.plan.report.settings.weights.stored_blocks;
  };
  CHECK(stored(48) == 10);
  CHECK(tried == std::vector<std::int64_t>{0, 1, 10});
  CHECK(stored(9) == 6);  // of nine, three are resident
  CHECK(tried == std::vector<std::int64_t>{0, 1, 6});
  CHECK(stored(2) == 0);
  budget.bytes = 2199;
  CHECK(stored(48) == 3);
  settings.stores[1].free_bytes = 1000;
  CHECK(stored(48) == 0);
  --settings.stores[1].free_bytes;
  const Choice none = choose_plan(settings, {.stored_blocks = 48}, std::span(&budget, 1), plan_with);
  REQUIRE(none.misfit);
  CHECK(none.misfit->budget.name == "store rank 2");
  CHECK(none.misfit->need_bytes == 1000);
  CHECK(none.plan.report.settings.weights.stored_blocks == 0);
  settings.weights.stream = false;
  settings.stores[1].free_bytes = 4000;
  CHECK(stored(48) == 0);
}

TEST_CASE("A search leaves what is given as it is") {
  Settings settings;
  settings.scheme = Scheme::e2;
  settings.query_tile = 512;
  settings.decode_tile = 5;
  std::vector<Settings> tried;
  const auto plan_with = [&](const Settings& candidate) {
    tried.push_back(candidate);
    return made_up_plan(candidate);
  };
  const ltxmem::MemoryBudget none;
  choose_plan(settings, {.key_tile = true, .ffn_chunk = true}, std::span(&none, 0), plan_with);
  for (const Settings& candidate : tried) {
    CHECK(candidate.scheme == Scheme::e2);
    CHECK(candidate.query_tile == 512);
    CHECK(candidate.ffn_chunk <= 512);
    CHECK(candidate.decode_tile == 5);
    CHECK_FALSE(candidate.weights.stream);
  }
  CHECK(tried.size() == 1);  // everything fits, so the largest tiles do
}

TEST_CASE("A refusal names settings that would fit, and no plan is made twice") {
  const ltxmem::MemoryBudget budget{"device", {ltxmem::MemorySpace::device}, 304096, 0};
  std::vector<Settings> tried;
  const Choice choice = choose_plan(Settings(), {}, std::span(&budget, 1), [&](const Settings& candidate) {
    tried.push_back(candidate);
    return made_up_plan(candidate);
  });
  REQUIRE(choice.misfit);
  CHECK(choice.misfit->suggestion == "--scheme E2 --key-tile 4096");
  CHECK(ltxmem::DoesNotFit(*choice.misfit).shortfall_bytes() == 100000);
  for (std::size_t i = 0; i < tried.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const auto differing = [&](auto member) { return tried[i].*member != tried[j].*member; };
      CHECK((differing(&Settings::scheme) || differing(&Settings::query_tile) || differing(&Settings::key_tile) ||
             differing(&Settings::ffn_chunk) || differing(&Settings::saved_prefix) ||
             differing(&Settings::decode_tile)));
    }
  }
}

TEST_CASE("What a budget leaves goes to resident blocks, and a byte less is a block less") {
  const auto plan_with = [](const Settings& settings) {
    JobPlan plan = made_up_plan(settings);
    StageReport& stage = plan.report.stages.front();
    const std::int64_t blocks = settings.weights.resident_blocks;
    // What is left of ten blocks streams through two slots, unless it fits into them.
    stage.planned_peak[0] += static_cast<std::size_t>((blocks + 2 >= 10 ? 10 : blocks + 2) * 7000);
    stage.at_peak[0].bytes = stage.planned_peak[0];
    stage.planned_seconds[0] = 100.0 - static_cast<double>(blocks);
    return plan;
  };
  Settings settings;
  settings.weights.stream = true;
  const std::size_t least = plan_with(settings).report.planned_peak()[0];
  ltxmem::MemoryBudget budget{"device", {ltxmem::MemorySpace::device}, least, 0};
  const auto kept = [&] {
    return plan_within(settings, {.resident_blocks = 10}, std::span(&budget, 1), plan_with)
        .report.settings.weights.resident_blocks;
  };
  CHECK(kept() == 0);
  budget.bytes += 3 * 7000;
  CHECK(kept() == 3);
  --budget.bytes;
  CHECK(kept() == 2);
  budget.bytes = least + 8 * 7000;
  CHECK(kept() == 10);
  --budget.bytes;
  CHECK(kept() == 7);
}

TEST_CASE("Tiles of the decoder are those that its stage needs, whatever the others do") {
  const auto plan_with = [](const Settings& settings) {
    JobPlan plan = made_up_plan(settings);
    StageReport decode = plan.report.stages.front();
    decode.name = video_decode_stage;
    decode.planned_peak[0] =
        settings.decode_tile == 0 ? 1000000 : 10000 * static_cast<std::size_t>(settings.decode_tile);
    decode.at_peak[0].bytes = decode.planned_peak[0];
    plan.report.stages.push_back(decode);
    return plan;
  };
  ltxmem::MemoryBudget budget{"device", {ltxmem::MemorySpace::device}, 250000, 0};
  const auto chosen = [&] {
    return plan_within(Settings(), Automatic::everything(0), std::span(&budget, 1), plan_with).report.settings;
  };
  CHECK(chosen().decode_tile == 16);
  CHECK(chosen().scheme == Scheme::e3);
  budget.bytes = 500000;
  CHECK(chosen().decode_tile == 32);
  CHECK(chosen().scheme == Scheme::e1);
  // Where no tile of the decoder fits, the refusal still is of the plan that lacks least, and no scheme more is tried.
  budget.bytes = 39999;
  const auto refused = [&] {
    return choose_plan(Settings(), Automatic::everything(0), std::span(&budget, 1), plan_with);
  };
  REQUIRE(refused().misfit);
  CHECK(refused().misfit->need_bytes == 100256);
  CHECK(refused().plan.report.settings.decode_tile == 4);
}

TEST_CASE("Where decoding lacks memory no scheme changes that, and none more is tried", "[plan]") {
  std::vector<Scheme> tried;
  const auto plan_with = [&](const Settings& settings) {
    tried.push_back(settings.scheme);
    JobPlan plan = made_up_plan(settings);
    StageReport decode = plan.report.stages.front();
    decode.name = video_decode_stage;
    decode.planned_peak[0] = 1000000 - static_cast<std::size_t>(settings.decode_tile);
    decode.at_peak[0].bytes = decode.planned_peak[0];
    decode.at_peak[0].step = video_decode_stage;
    plan.report.stages.push_back(decode);
    return plan;
  };
  const ltxmem::MemoryBudget budget{"device", {ltxmem::MemorySpace::device}, 500000, 0};
  const Choice choice = choose_plan(Settings(), Automatic::everything(0), std::span(&budget, 1), plan_with);
  REQUIRE(choice.misfit);
  CHECK(choice.misfit->need_bytes == 1000000 - 32);
  CHECK(choice.plan.report.settings.decode_tile == 32);
  CHECK(tried == std::vector<Scheme>(5, Scheme::e1));
}

TEST_CASE("A stop request ends a plan, whatever it would take", "[plan]") {
  Models models(known_models(ModelVersion::v2_3));
  std::stop_source stop;
  const Runtime::DryRun stoppable{nullptr, stop.get_token()};
  CHECK_NOTHROW(plan_job(long_clip(), models, Settings(), stoppable));
  stop.request_stop();
  CHECK_THROWS_AS(plan_job(long_clip(), models, Settings(), stoppable), ltxmem::Cancelled);
}

TEST_CASE("The full model in a card's memory is found in few plans, with weights that stay") {
  Models models(known_models(ModelVersion::v2_3));
  const GenerateRequest request = long_clip();
  const ltxmem::MemoryBudget budget{
      "device", {ltxmem::MemorySpace::device}, std::size_t{12} << 30, std::size_t{512} << 20};
  Settings settings;
  settings.weights.device_reads_files = false;
  int plans = 0;
  const JobPlan plan = plan_within(settings, Automatic::everything(48), std::span(&budget, 1), [&](const Settings& s) {
    ++plans;
    return plan_job(request, models, s, {ltxmem::find_device_profile("rtx3060")});
  });
  CAPTURE(plans);
  CHECK(plans <= 12);
  CHECK(plan.report.planned_peak()[0] + budget.reserve_bytes <= budget.bytes);
  CHECK(plan.report.settings.weights.stream);
  CHECK(plan.report.settings.weights.resident_blocks > 0);
}
