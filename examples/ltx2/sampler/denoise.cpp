// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/denoise.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace ltx2 {

using ltxmem::expects;
using ltxmem::Tensor;
using ltxmem::TensorView;

namespace {

/// The estimate of one modality's clean latent, combined from the velocities of the passes of a step. It stays until
/// the modality is predicted again.
class Estimate {
 public:
  Estimate(const HostWork& host, const LatentState& state, const ModalityGuidance& guidance, bool other_passes)
      : host_(host),
        guidance_(guidance),
        result_(host.memory("estimate"), state.latent.extents()),
        timesteps_(host.values("timesteps"), {state.tokens()}) {
    if (other_passes) {
      conditional_ = {host.memory("conditional estimate"), state.latent.extents()};
      other_ = {host.memory("estimate of another pass"), state.latent.extents()};
    }
  }

  TensorView<const float, 2> result() const noexcept { return result_.view(); }

  /// The result of the last prediction of a run that is gone on with.
  void resume(TensorView<const float, 2> result) {
    expect_resumable("denoise: an estimate", result.extents(), result_.extents());
    host_.run([&] { std::copy_n(result.data(), result.size(), result_.view().data()); });
  }

  NoisyTokens input(const LatentState& state, float sigma, bool updated) {
    const float level = state.frozen ? 0.0F : sigma;
    for (std::int64_t t = 0; t < state.tokens(); ++t) timesteps_.view()(t) = state.mask.view()(t) * level;
    return {state.latent.view(), std::as_const(timesteps_).view(), state.midpoints.view(), level, updated, {}};
  }

  /// Where the model writes the velocity of a pass of a step that has this many passes.
  TensorView<float, 2> velocity(Pass pass, std::size_t passes) {
    if (pass != Pass::conditional) return other_.view();
    return passes == 1 ? result_.view() : conditional_.view();
  }

  /// Takes in the velocity of a pass; the conditional one comes first.
  void add(const LatentState& state, Pass pass, std::size_t passes) {
    const float weight = guidance_weight(guidance_, pass);
    if (pass != Pass::conditional && weight == 0.0F) return;
    const TensorView<float, 2> estimate = velocity(pass, passes);
    const TensorView<const float, 2> latent = state.latent.view();
    const TensorView<float, 2> result = result_.view();
    const TensorView<const float, 2> conditional = std::as_const(conditional_).view();
    host_.run([&] {
      for (std::int64_t t = 0; t < state.tokens(); ++t) {
        const float timestep = timesteps_.view()(t);
        for (std::int64_t c = 0; c < state.channels(); ++c) {
          estimate(t, c) = latent(t, c) - estimate(t, c) * timestep;
          if (pass != Pass::conditional) {
            result(t, c) += weight * (conditional(t, c) - estimate(t, c));
          } else if (passes > 1) {
            result(t, c) = estimate(t, c);
          }
        }
      }
    });
  }

  /// After the last pass.
  void finish(std::size_t passes) {
    if (guidance_.rescale != 0.0F && passes > 1) {
      host_.run([&] { rescale_guided(guidance_.rescale, std::as_const(conditional_).view(), result_.view()); });
    }
  }

 private:
  HostWork host_;
  const ModalityGuidance& guidance_;
  Tensor<float, 2> result_;
  Tensor<float, 1> timesteps_;
  Tensor<float, 2> conditional_;
  Tensor<float, 2> other_;
};

bool has_other_passes(const Guidance& guidance) {
  return plan_step(guidance, 0).passes.size() > 1;
}

/// Both modalities' estimates, and the passes that make them.
class Predictor {
 public:
  Predictor(LatentState& video, LatentState& audio, const DenoiseOptions& options, const VelocityModel& model,
            const HostWork& host)
      : video_state_(video),
        audio_state_(audio),
        options_(options),
        model_(model),
        video_(host, video, options.guidance.video, has_other_passes(options.guidance)),
        audio_(host, audio, options.guidance.audio, has_other_passes(options.guidance)) {
    if (options.resume.done == 0) return;
    if (options.guidance.video.skip_step > 0) video_.resume(options.resume.video_estimate);
    if (options.guidance.audio.skip_step > 0) audio_.resume(options.resume.audio_estimate);
  }

  void tell(std::int64_t done, std::int64_t total) const {
    if (!options_.on_step) return;
    const auto kept = [](const ModalityGuidance& guidance, const Estimate& estimate) {
      return guidance.skip_step > 0 ? estimate.result() : TensorView<const float, 2>();
    };
    options_.on_step({done, total, kept(options_.guidance.video, video_), kept(options_.guidance.audio, audio_)});
  }

  TensorView<const float, 2> video() const noexcept { return video_.result(); }
  TensorView<const float, 2> audio() const noexcept { return audio_.result(); }

  /// Estimates at the states' present latents; step decides which modalities are predicted anew.
  void predict(float sigma, std::int64_t step) {
    const StepPlan plan = plan_step(options_.guidance, step);
    const std::size_t passes = plan.passes.size();
    for (const Pass pass : plan.passes) {
      if (options_.stop.stop_requested()) throw ltxmem::Cancelled();
      VelocityRequest request;
      request.evaluation = evaluation_;
      request.pass = pass;
      request.negative_context = pass == Pass::unconditional;
      request.cross_modal = pass != Pass::isolated;
      request.video = video_.input(video_state_, sigma, plan.video);
      request.audio = audio_.input(audio_state_, sigma, plan.audio);
      if (pass == Pass::perturbed) {
        const Guidance& guidance = options_.guidance;
        if (guidance.video.stg != 0.0F) request.video.blocks_without_self_attention = guidance.video.stg_blocks;
        if (guidance.audio.stg != 0.0F) request.audio.blocks_without_self_attention = guidance.audio.stg_blocks;
      }
      model_(request, plan.video ? video_.velocity(pass, passes) : TensorView<float, 2>(),
             plan.audio ? audio_.velocity(pass, passes) : TensorView<float, 2>());
      if (plan.video) video_.add(video_state_, pass, passes);
      if (plan.audio) audio_.add(audio_state_, pass, passes);
    }
    if (plan.video) video_.finish(passes);
    if (plan.audio) audio_.finish(passes);
    ++evaluation_;
  }

 private:
  LatentState& video_state_;
  LatentState& audio_state_;
  const DenoiseOptions& options_;
  const VelocityModel& model_;
  Estimate video_;
  Estimate audio_;
  std::int64_t evaluation_ = 0;
};

void denoise_euler(LatentState& video, LatentState& audio, std::span<const float> sigmas, const DenoiseOptions& options,
                   Predictor& predictor, const HostWork& host) {
  const auto steps = static_cast<std::int64_t>(sigmas.size()) - 1;
  for (std::int64_t step = options.resume.done; step < steps; ++step) {
    const float sigma = sigmas[static_cast<std::size_t>(step)];
    const float next = sigmas[static_cast<std::size_t>(step) + 1];
    predictor.predict(sigma, step);
    host.run([&] {
      euler_step(video, predictor.video(), sigma, next);
      euler_step(audio, predictor.audio(), sigma, next);
    });
    predictor.tell(step + 1, steps);
  }
}

/// The state becomes its estimate: the end of a res_2s run.
void take_estimate(LatentState& state, TensorView<const float, 2> estimate) {
  for (std::int64_t t = 0; t < state.tokens(); ++t) {
    for (std::int64_t c = 0; c < state.channels(); ++c) {
      state.latent.view()(t, c) = blend_clean(estimate(t, c), state.clean.view()(t, c), state.mask.view()(t));
    }
  }
}

void denoise_res2s(LatentState& video, LatentState& audio, std::span<const float> sigmas, const DenoiseOptions& options,
                   Predictor& predictor, const HostWork& host) {
  expects(static_cast<bool>(options.draw_noise), "denoise: res_2s without a source of noise");
  const std::vector<float> levels = res2s_levels({sigmas.begin(), sigmas.end()});
  const auto steps = static_cast<std::int64_t>(sigmas.size()) - 1;
  Res2sState video_step(host, video);
  Res2sState audio_step(host, audio);
  Tensor<float, 2> video_noise(host.memory("noise"), video.latent.extents());
  Tensor<float, 2> audio_noise(host.memory("noise"), audio.latent.extents());
  const auto draw = [&](NoisePurpose purpose, std::int64_t step) {
    options.draw_noise(Modality::video, purpose, step, video_noise.view());
    options.draw_noise(Modality::audio, purpose, step, audio_noise.view());
  };
  for (std::int64_t step = options.resume.done; step < steps; ++step) {
    const float sigma = levels[static_cast<std::size_t>(step)];
    const Res2sCoefficients coefficients(static_cast<double>(sigma),
                                         static_cast<double>(levels[static_cast<std::size_t>(step) + 1]));
    predictor.predict(sigma, step);
    host.run([&] {
      draw(NoisePurpose::midpoint, step);
      video_step.to_midpoint(video, coefficients, predictor.video(), std::as_const(video_noise).view());
      audio_step.to_midpoint(audio, coefficients, predictor.audio(), std::as_const(audio_noise).view());
    });
    // The midpoint is always predicted anew, as step 0 is.
    predictor.predict(static_cast<float>(coefficients.middle), 0);
    host.run([&] {
      draw(NoisePurpose::step, step);
      video_step.to_next(video, coefficients, predictor.video(), std::as_const(video_noise).view());
      audio_step.to_next(audio, coefficients, predictor.audio(), std::as_const(audio_noise).view());
    });
    predictor.tell(step + 1, steps);
  }
  if (levels.back() == 0.0F) {
    predictor.predict(levels[levels.size() - 2], steps);
    host.run([&] {
      take_estimate(video, predictor.video());
      take_estimate(audio, predictor.audio());
    });
  }
}

}  // namespace

DrawNoise draw_from_seed(std::uint64_t seed, std::uint8_t stage) {
  return [seed, stage](Modality modality, NoisePurpose purpose, std::int64_t step, TensorView<float, 2> noise) {
    fill_normal({seed, modality, purpose, stage, static_cast<std::uint32_t>(step)}, noise);
  };
}

void denoise(LatentState& video, LatentState& audio, std::span<const float> sigmas, const DenoiseOptions& options,
             const VelocityModel& model, const HostWork& host) {
  expects(sigmas.size() >= 2, "denoise: ", sigmas.size(), " noise levels, expected at least 2");
  for (std::size_t i = 1; i < sigmas.size(); ++i) {
    expects(sigmas[i] < sigmas[i - 1] && sigmas[i] >= 0.0F, "denoise: level ", sigmas[i], " after ", sigmas[i - 1]);
  }
  const StepsDone& resume = options.resume;
  const auto steps = static_cast<std::int64_t>(sigmas.size()) - 1;
  expects(resume.done >= 0 && resume.done <= steps && (resume.done == 0 || resume.total == steps),
          "denoise: to resume after ", resume.done, " of ", resume.total, " steps, expected at most ", steps);
  Predictor predictor(video, audio, options, model, host);
  if (options.solver == Solver::euler) {
    denoise_euler(video, audio, sigmas, options, predictor, host);
  } else {
    denoise_res2s(video, audio, sigmas, options, predictor, host);
  }
}

PassCounts count_passes(std::span<const float> sigmas, Solver solver, const Guidance& guidance, std::int64_t done) {
  const auto steps = static_cast<std::int64_t>(sigmas.size()) - 1;
  PassCounts count{};
  const auto evaluate = [&](std::int64_t step) {
    for (const Pass pass : plan_step(guidance, step).passes) ++count[static_cast<std::size_t>(pass)];
  };
  for (std::int64_t step = done; step < steps; ++step) {
    evaluate(step);
    if (solver == Solver::res_2s) evaluate(0);
  }
  if (solver == Solver::res_2s && sigmas.back() == 0.0F) evaluate(steps);
  return count;
}

}  // namespace ltx2
