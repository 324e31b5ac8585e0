// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/denoise.hpp"

#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "sampler/schedule.hpp"
#include "support/catch.hpp"

using ltx2::Pass;
using ltxmem::TensorView;

namespace {

constexpr std::int64_t channels = 2;
const ltx2::VideoGrid grid{2, 1, 1};

/// A model that always sees the same clean latent, per pass, behind whatever noise: v = (x - target) / timestep.
struct Fixture {
  ltxmem::HostResource host;
  ltx2::LatentState video = ltx2::make_video_state(host, grid, channels, 24, {}, {});
  ltx2::LatentState audio = ltx2::make_audio_state(host, 3, channels, {});
  std::vector<ltx2::VelocityRequest> requests;
  ltx2::DenoiseOptions options;

  Fixture() {
    ltx2::add_noise(host, video, {.seed = 1}, 1.0F);
    ltx2::add_noise(host, audio, {.seed = 2}, 1.0F);
  }

  static float target(Pass pass) { return pass == Pass::conditional ? 4.0F : 1.0F + static_cast<float>(pass); }

  ltx2::VelocityModel model() {
    return [this](const ltx2::VelocityRequest& request, TensorView<float, 2> v, TensorView<float, 2> a) {
      requests.push_back(request);
      fill(request.video, request.pass, v);
      fill(request.audio, request.pass, a);
    };
  }
  static void fill(const ltx2::NoisyTokens& input, Pass pass, TensorView<float, 2> velocity) {
    for (std::int64_t t = 0; t < velocity.extent(0); ++t) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const float timestep = input.timesteps(t);
        // Varies over channels, so that deviations exist.
        const float clean = target(pass) + static_cast<float>(c);
        velocity(t, c) = timestep > 0 ? (input.latent(t, c) - clean) / timestep : 100.0F;
      }
    }
  }
  void run(const std::vector<float>& sigmas) { ltx2::denoise(video, audio, sigmas, options, model(), host); }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "Euler along a constant estimate arrives at it") {
  run(ltx2::distilled_schedule());
  CHECK(video.latent.view()(1, 1) == Approx(5).margin(1e-5));
  CHECK(audio.latent.view()(2, 0) == Approx(4).margin(1e-5));
  CHECK(requests.size() == 8);
}

TEST_CASE_METHOD(Fixture, "res_2s along a constant estimate arrives at it") {
  options.solver = ltx2::Solver::res_2s;
  options.draw_noise = ltx2::draw_from_seed(3, 0);
  run({1.0F, 0.8F, 0.4F, 0.0F});
  CHECK(video.latent.view()(1, 1) == Approx(5).margin(1e-5));
  CHECK(requests.size() == 2 * 3 + 1);
  CHECK(requests.back().video.sigma == 0.0011F);
}

TEST_CASE_METHOD(Fixture, "res_2s that ends above 0 makes no final evaluation") {
  options.solver = ltx2::Solver::res_2s;
  options.draw_noise = ltx2::draw_from_seed(3, 0);
  run({1.0F, 0.8F, 0.4F});
  CHECK(requests.size() == 4);
}

TEST_CASE_METHOD(Fixture, "res_2s needs a source of noise") {
  options.solver = ltx2::Solver::res_2s;
  CHECK_THROWS_AS(run({1.0F, 0.5F}), ltxmem::ShapeError);
}

TEST_CASE_METHOD(Fixture, "Guidance combines the passes of its modality alone") {
  options.guidance.video.cfg = 3;       // conditional 4, unconditional 2
  options.guidance.video.modality = 2;  // isolated 4
  run({1.0F, 0.0F});
  CHECK(video.latent.view()(0, 0) == Approx(4 + 2 * (4 - 2) + (4 - 4)).margin(1e-5));
  CHECK(audio.latent.view()(0, 0) == Approx(4).margin(1e-5));
  REQUIRE(requests.size() == 3);
  CHECK(requests[1].negative_context);
  CHECK_FALSE(requests[2].cross_modal);
  CHECK_FALSE(requests[2].negative_context);
}

TEST_CASE_METHOD(Fixture, "The perturbed pass skips self-attention in the modalities that weigh it") {
  options.guidance.video.stg = 1;
  options.guidance.video.stg_blocks = {28};
  options.guidance.audio.stg_blocks = {29};
  run({1.0F, 0.0F});
  REQUIRE(requests.size() == 2);
  CHECK(requests[0].video.blocks_without_self_attention.empty());
  REQUIRE(requests[1].video.blocks_without_self_attention.size() == 1);
  CHECK(requests[1].video.blocks_without_self_attention[0] == 28);
  CHECK(requests[1].audio.blocks_without_self_attention.empty());
  CHECK(video.latent.view()(0, 1) == Approx(5 + (5 - 4)).margin(1e-5));
}

TEST_CASE_METHOD(Fixture, "Full rescaling gives the deviation of the conditional estimate") {
  options.guidance.video.cfg = 3;
  options.guidance.video.rescale = 1;
  run({1.0F, 0.0F});
  // All passes have the same deviation here, so the factor is 1.
  CHECK(video.latent.view()(0, 0) == Approx(8).margin(1e-4));
}

TEST_CASE_METHOD(Fixture, "A skipped modality keeps its estimate and is not updated by the model") {
  options.guidance.video.skip_step = 1;
  options.guidance.audio.cfg = 2;
  run({1.0F, 0.5F, 0.0F});
  REQUIRE(requests.size() == 4);
  CHECK(requests[0].video.updated);
  CHECK_FALSE(requests[2].video.updated);
  CHECK(requests[2].audio.updated);
  CHECK(video.latent.view()(1, 0) == Approx(4).margin(1e-5));
}

TEST_CASE_METHOD(Fixture, "Steps that predict nothing evaluate nothing") {
  options.guidance.video.skip_step = 1;
  options.guidance.audio.skip_step = 1;
  run({1.0F, 0.5F, 0.0F});
  CHECK(requests.size() == 1);
  CHECK(video.latent.view()(0, 0) == Approx(4).margin(1e-5));
}

TEST_CASE_METHOD(Fixture, "Kept tokens have timestep 0 and stay, whatever the model says") {
  const std::vector<float> image{7, 8};
  const std::vector<ltx2::ImageCondition> conditions{
      {TensorView<const float, 2>(image.data(), {1, channels}), 0, 1.0F}};
  video = ltx2::make_video_state(host, grid, channels, 24, {}, conditions);
  ltx2::add_noise(host, video, {.seed = 1}, 1.0F);
  std::vector<float> timesteps;
  ltx2::denoise(
      video, audio, std::vector<float>{1.0F, 0.5F, 0.0F}, options,
      [&](const ltx2::VelocityRequest& request, TensorView<float, 2> v, TensorView<float, 2> a) {
        timesteps = {request.video.timesteps(0), request.video.timesteps(1)};
        fill(request.video, request.pass, v);
        fill(request.audio, request.pass, a);
      },
      host);
  CHECK(timesteps == std::vector<float>{0.0F, 0.5F});
  CHECK(video.latent.view()(0, 0) == 7.0F);
  CHECK(video.latent.view()(0, 1) == 8.0F);
  CHECK(video.latent.view()(1, 0) == Approx(4).margin(1e-5));
}

TEST_CASE_METHOD(Fixture, "A frozen modality is shown at noise level 0") {
  const std::vector<float> given(6, 3.0F);
  audio = ltx2::make_audio_state(host, 3, channels, {given.data(), {3, channels}}, true);
  run({1.0F, 0.5F, 0.0F});
  CHECK(requests[0].audio.sigma == 0.0F);
  CHECK(requests[0].video.sigma == 1.0F);
  CHECK(audio.latent.view()(1, 1) == 3.0F);
}

TEST_CASE_METHOD(Fixture, "Progress is told after every step") {
  std::vector<std::int64_t> seen;
  options.on_step = [&](const ltx2::StepsDone& steps) {
    seen.push_back(steps.done);
    CHECK(steps.total == 3);
  };
  run({1.0F, 0.8F, 0.5F, 0.0F});
  CHECK(seen == std::vector<std::int64_t>{1, 2, 3});
}

TEST_CASE_METHOD(Fixture, "A fired stop token ends the loop before the next evaluation") {
  std::stop_source stop;
  options.stop = stop.get_token();
  options.on_step = [&](const ltx2::StepsDone& steps) {
    if (steps.done == 2) stop.request_stop();
  };
  CHECK_THROWS_AS(run(ltx2::distilled_schedule()), ltxmem::Cancelled);
  CHECK(requests.size() == 2);
}

TEST_CASE_METHOD(Fixture, "Steps to resume from must be of this run") {
  options.resume = {.done = 1, .total = 2, .video_estimate = {}, .audio_estimate = {}};
  CHECK_THROWS_AS(run({1.0F, 0.8F, 0.5F, 0.0F}), ltxmem::ShapeError);
  options.resume.total = 3;
  run({1.0F, 0.8F, 0.5F, 0.0F});
  CHECK(requests.size() == 2);
  options.resume.done = 4;
  CHECK_THROWS_AS(run({1.0F, 0.8F, 0.5F, 0.0F}), ltxmem::ShapeError);
  options.resume.done = 1;
  options.guidance.video.skip_step = 1;  // then an estimate is wanted
  CHECK_THROWS_AS(run({1.0F, 0.8F, 0.5F, 0.0F}), ltxmem::ShapeError);
}

TEST_CASE_METHOD(Fixture, "Levels must decrease") {
  CHECK_THROWS_AS(run({1.0F}), ltxmem::ShapeError);
  CHECK_THROWS_AS(run({1.0F, 1.0F}), ltxmem::ShapeError);
  CHECK_THROWS_AS(run({0.5F, -0.5F}), ltxmem::ShapeError);
}

TEST_CASE_METHOD(Fixture, "The number of passes of each kind is known beforehand") {
  options.guidance.video.cfg = 3;
  options.guidance.video.skip_step = 1;
  options.guidance.audio.modality = 2;
  const std::vector<float> sigmas{1.0F, 0.8F, 0.5F, 0.0F};
  for (const ltx2::Solver solver : {ltx2::Solver::euler, ltx2::Solver::res_2s}) {
    requests.clear();
    options.solver = solver;
    options.draw_noise = ltx2::draw_from_seed(1, 0);
    run(sigmas);
    ltx2::PassCounts seen{};
    for (const auto& request : requests) ++seen[static_cast<std::size_t>(request.pass)];
    CHECK(ltx2::count_passes(sigmas, solver, options.guidance) == seen);
    CHECK(seen[static_cast<std::size_t>(ltx2::Pass::unconditional)] > 0);
  }
}

TEST_CASE_METHOD(Fixture, "Sampling takes the documented memory") {
  const std::int64_t elements = (2 + 3) * channels;
  const std::int64_t tokens = 2 + 3;
  const auto peak = [&] {
    ltxmem::CountingResource counted(host);
    ltx2::denoise(video, audio, std::vector<float>{1.0F, 0.5F}, options, model(), counted);
    return static_cast<std::int64_t>(counted.peak_bytes() / sizeof(float));
  };
  CHECK(peak() == elements + tokens);
  options.guidance.audio.stg = 1;
  CHECK(peak() == 3 * elements + tokens);
  options.solver = ltx2::Solver::res_2s;
  options.draw_noise = ltx2::draw_from_seed(1, 0);
  CHECK(peak() == 7 * elements + tokens);
}
