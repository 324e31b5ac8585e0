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

namespace {

/// Runs a case after a change to it.
template <class Change>
void run_changed(const std::string& name, Change&& change) {
  ltx2::Case test = ltx2::read_case(ltx2::test::golden_path("cases/denoise/" + name + ".safetensors"));
  change(test);
  ltx2::Runtime runtime(ltx2::test::case_settings());
  ltx2::CaseModels models(ltx2::test::golden_models(), {}, runtime.host_memory());
  ltx2::run_denoise_case(test, models, runtime);
}

}  // namespace

TEST_CASE("A sampling case with an unknown solver is refused") {
  CHECK_THROWS_WITH(run_changed("v23_distilled", [](ltx2::Case& test) { test.options["solver"] = "heun"; }),
                    Catch::Contains("unknown solver heun"));
}
TEST_CASE("A sampling case whose image has another size than the clip is refused") {
  CHECK_THROWS_AS(run_changed("v23_distilled_i2v",
                              [](ltx2::Case& test) {
                                test.inputs["condition.0"] = ltx2::HostTensor::zeros({1, 6, 1, 1, 3});
                              }),
                  ltxmem::ShapeError);
}
TEST_CASE("A sampling case whose initial latent has another size than the clip is refused") {
  CHECK_THROWS_AS(run_changed("v23_stage2",
                              [](ltx2::Case& test) {
                                test.inputs["video.initial"] = ltx2::HostTensor::zeros({1, 6, 1, 2, 3});
                              }),
                  ltxmem::ShapeError);
  CHECK_THROWS_AS(run_changed("v23_stage2",
                              [](ltx2::Case& test) {
                                test.inputs["audio.initial"] = ltx2::HostTensor::zeros({1, 2, 8, 16});
                              }),
                  ltxmem::ShapeError);
}
TEST_CASE("A second-order sampling case without a draw of noise names it") {
  CHECK_THROWS_WITH(run_changed("v23_res2s", [](ltx2::Case& test) { test.inputs.erase("noise.1.sub.audio"); }),
                    Catch::Contains("noise.1.sub.audio"));
}
TEST_CASE("A guided sampling case without negative contexts is refused") {
  CHECK_THROWS_WITH(run_changed("v20_cfg_only",
                                [](ltx2::Case& test) {
                                  test.inputs.erase("video.negative_context");
                                  test.inputs.erase("audio.negative_context");
                                }),
                    Catch::Contains("no negative context"));
}
TEST_CASE("Guidance that skips a block which does not exist is refused") {
  CHECK_THROWS_AS(
      run_changed("v23_guided", [](ltx2::Case& test) { test.options["guidance"]["video"]["stg_blocks"] = {99}; }),
      ltxmem::ShapeError);
}

TEST_CASE("Tiles, threads and repetition change no bit of a sampling run") {
  const ltx2::Case test = ltx2::read_case(ltx2::test::golden_path("cases/denoise/v23_res2s_bong_i2v.safetensors"));
  const auto run = [&](int threads, std::int64_t tile) {
    ltx2::Settings settings = ltx2::test::case_settings();
    settings.threads = threads;
    settings.query_tile = settings.key_tile = settings.ffn_chunk = tile;
    ltx2::Runtime runtime(settings);
    ltx2::CaseModels models(ltx2::test::golden_models(), {}, runtime.host_memory());
    const ltx2::HostTensors outputs = ltx2::run_denoise_case(test, models, runtime);
    return std::pair(outputs.at("video.latent").floats(), outputs.at("audio.latent").floats());
  };
  const auto once = run(1, 4096);
  CHECK(run(1, 4096) == once);
  CHECK(run(3, 256) == once);
}
