// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/pipeline.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "audio/audio.hpp"
#include "sampler/conditioning.hpp"
#include "sampler/denoise.hpp"
#include "sampler/schedule.hpp"
#include "sampler/transformer_velocity.hpp"
#include "text/encode_prompt.hpp"
#include "upsampler/upsampler.hpp"
#include "video_vae/video_vae.hpp"

namespace ltx2 {
namespace {

using ltxmem::Extents;
using ltxmem::Tensor;
using ltxmem::TensorView;

/// What distinguishes one sampling stage from another.
struct StagePlan {
  int number = 1;  ///< 1 or 2
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<float> sigmas;
  Solver solver = Solver::euler;
  Guidance guidance;
  float distilled_lora = 0;  ///< factor of the distilled LoRA
};

/// One sampling run after another, sharing what does not change between them.
class Sampling {
 public:
  Sampling(const GenerateRequest& request, Models& models, std::span<const PlacedImage> images, Runtime& runtime,
           const PipelineHooks& hooks)
      : request_(request), models_(models), images_(images), runtime_(runtime), hooks_(hooks) {}

  void encode_prompts() {
    const Stage stage(runtime_, "text");
    prompt_ = encode(request_.prompt);
    if (request_.is_guided()) negative_ = encode(request_.negative_prompt);
  }

  /// Samples from noise, or from the given latents with as much noise as the stage's first level says, or from where an
  /// earlier run of the stage has come.
  Latents run(const StagePlan& plan, TensorView<const float, 2> initial_video, TensorView<const float, 2> initial_audio,
              TensorView<const float, 2> first_sound = {}) {
    models_.use_loras(plan.distilled_lora);
    const Stage stage(runtime_, plan.number == 1 ? "stage 1" : "stage 2");
    const HostWork host = runtime_.host_work();
    const TransformerConfig& config = *models_.model().config().transformer;
    const VideoGrid grid = video_grid(request_.frames, plan.height, plan.width);

    const std::vector<Tensor<float, 2>> encoded = encode_images(plan, grid);
    std::vector<ImageCondition> conditions;
    for (std::size_t i = 0; i < images_.size(); ++i) {
      conditions.push_back({encoded[i].view(), images_[i].frame, images_[i].strength});
    }
    LatentState video = make_video_state(host, grid, config.in_channels, request_.fps, initial_video, conditions);
    LatentState audio = make_audio_state(host, audio_latent_frames(request_.frames, request_.fps),
                                         config.audio_in_channels, initial_audio);
    const SavedSteps* const resume = resumes_in(plan.number) ? hooks_.resume : nullptr;
    if (resume == nullptr) {
      add_initial_noise(plan, Modality::video, video);
      add_initial_noise(plan, Modality::audio, audio);
    } else {
      take_latent(resume->video, video);
      take_latent(resume->audio, audio);
    }

    TransformerModel transformer(runtime_, models_.model());
    TransformerVelocity velocity(transformer, config.layers, video, audio, views_of(prompt_), views_of(negative_));
    const Tensor<std::byte, 1> noted(
        runtime_.noted_memory(ltxmem::MemorySpace::host, "token positions and timestep indices"),
        {static_cast<std::int64_t>(velocity.host_bytes())});
    velocity.share_prefix(shared_blocks(plan.guidance));
    DenoiseOptions options;
    if (resume != nullptr) options.resume = resume->steps;
    velocity.announce_to(runtime_, count_passes(plan.sigmas, plan.solver, plan.guidance, options.resume.done));
    options.solver = plan.solver;
    options.guidance = plan.guidance;
    options.draw_noise = draw_from_seed(request_.seed, static_cast<std::uint8_t>(plan.number));
    options.stop = hooks_.stop;
    if (hooks_.on_step && !runtime_.is_dry()) {
      options.on_step = [&](const StepsDone& steps) {
        hooks_.on_step({plan.number, steps, video.latent.view(), audio.latent.view(), first_sound});
      };
    }
    denoise(video, audio, plan.sigmas, options, std::ref(velocity), host);
    return {grid, copy(video.result(), "video latent"), copy(audio.result(), "sound latent")};
  }

  Tensor<float, 2> upsample(const Latents& latents) {
    const Stage stage(runtime_, "upsample");
    const VideoGrid& grid = latents.grid;
    const std::int64_t channels = latents.video.extent(1);
    const Extents<4> from{grid.frames, grid.height, grid.width, channels};
    const Extents<4> to = upsampled_extents(models_.upsampler(), from);
    ltxmem::expects(to[1] == 2 * from[1] && to[2] == 2 * from[2], models_.upsampler().tensors().name(),
                    ": enlarges a latent of ", from[1], " x ", from[2], " to ", to[1], " x ", to[2],
                    ", the pipeline needs twice the size");
    Tensor<float, 2> upsampled(runtime_.host_memory("upsampled latent"), {to[0] * to[1] * to[2], channels});
    upsample_latent(runtime_, models_.model(), models_.upsampler(), latents.video.view().reshape(from),
                    upsampled.view().reshape(to));
    return upsampled;
  }

  Tensor<float, 2> copy(TensorView<const float, 2> from, const char* name) {
    Tensor<float, 2> to(runtime_.host_memory(name), from.extents());
    runtime_.on_host([&] { std::copy_n(from.data(), from.size(), to.view().data()); });
    return to;
  }

  EncodedPrompt take_prompt() { return std::move(prompt_); }

  bool resumes_in(int stage) const { return hooks_.resume != nullptr && hooks_.resume->stage == stage; }

 private:
  static ContextViews views_of(const EncodedPrompt& prompt) { return {prompt.video.view(), prompt.audio.view()}; }

  EncodedPrompt encode(const std::string& text) {
    const ModelConfig& config = models_.model().config();
    const ltxmem::ResourceRef memory = runtime_.host_memory("text context");
    EncodedPrompt prompt{{memory, {request_.max_length, config.video_connector->width()}},
                         {memory, {request_.max_length, config.audio_connector->width()}}};
    encode_prompt(runtime_, models_.token_ids(text, request_.max_length), models_.gemma(), models_.model(),
                  {prompt.video.view(), prompt.audio.view()});
    return prompt;
  }

  /// The images as latent tokens of this stage's size.
  std::vector<Tensor<float, 2>> encode_images(const StagePlan& plan, const VideoGrid& grid) {
    std::vector<Tensor<float, 2>> encoded;
    if (images_.empty()) return encoded;
    const std::int64_t channels = models_.model().config().video_vae->latent_channels;
    for (const PlacedImage& placed : images_) {
      Tensor<float, 3> pixels(runtime_.host_memory("image"), {plan.height, plan.width, 3});
      runtime_.on_host([&] { resize_and_crop(placed.image, pixels.view()); });
      Tensor<float, 2>& tokens =
          encoded.emplace_back(runtime_.host_memory("image latent"), Extents<2>{grid.frame_tokens(), channels});
      encode_video(runtime_, models_.model(),
                   std::as_const(pixels).view().reshape(Extents<4>{1, plan.height, plan.width, 3}),
                   tokens.view().reshape(Extents<4>{1, grid.height, grid.width, channels}));
    }
    return encoded;
  }

  void take_latent(TensorView<const float, 2> saved, LatentState& state) {
    expect_resumable("a latent", saved.extents(), state.latent.extents());
    runtime_.on_host([&] { std::copy_n(saved.data(), saved.size(), state.latent.view().data()); });
  }

  void add_initial_noise(const StagePlan& plan, Modality modality, LatentState& state) {
    const float scale = plan.sigmas.front();
    if (!hooks_.initial_noise) {
      add_noise(runtime_.host_work(), state,
                {.seed = request_.seed, .modality = modality, .stage = static_cast<std::uint8_t>(plan.number)}, scale);
      return;
    }
    Tensor<float, 2> noise(runtime_.host_memory("noise"), state.latent.extents());
    runtime_.on_host([&] { hooks_.initial_noise(plan.number, modality, noise.view()); });
    add_noise(runtime_.host_work(), state, noise.view(), scale);
  }

  const GenerateRequest& request_;
  Models& models_;
  std::span<const PlacedImage> images_;
  Runtime& runtime_;
  const PipelineHooks& hooks_;
  EncodedPrompt prompt_;
  EncodedPrompt negative_;
};

/// The stage that starts from noise: at full size when it is the only one.
StagePlan first_stage(const GenerateRequest& request) {
  StagePlan plan;
  const std::int64_t shrink = request.has_two_stages() ? 2 : 1;
  plan.width = request.width / shrink;
  plan.height = request.height / shrink;
  plan.guidance = request.guidance;
  switch (request.pipeline) {
    case PipelineKind::distilled:
      plan.sigmas = distilled_schedule();
      plan.guidance = {};
      break;
    case PipelineKind::hq:
      plan.sigmas = dev_schedule(request.steps, video_grid(request.frames, plan.height, plan.width).tokens());
      plan.solver = Solver::res_2s;
      plan.distilled_lora = 0.25F;
      break;
    case PipelineKind::two_stage:
    case PipelineKind::one_stage: plan.sigmas = dev_schedule(request.steps); break;
  }
  return plan;
}

/// The stage that refines the enlarged first one.
StagePlan second_stage(const GenerateRequest& request) {
  StagePlan plan;
  plan.number = 2;
  plan.width = request.width;
  plan.height = request.height;
  plan.sigmas = distilled_stage2_schedule();
  if (request.pipeline == PipelineKind::hq) plan.solver = Solver::res_2s;
  if (request.pipeline == PipelineKind::two_stage) plan.distilled_lora = 1.0F;
  if (request.pipeline == PipelineKind::hq) plan.distilled_lora = 0.5F;
  return plan;
}

}  // namespace

Sample run_pipeline(const GenerateRequest& request, Models& models, std::span<const PlacedImage> images,
                    Runtime& runtime, const PipelineHooks& hooks) {
  Sampling sampling(request, models, images, runtime, hooks);
  Sample sample;
  if (hooks.resume != nullptr) {
    const int stage = hooks.resume->stage;
    ltxmem::expects(stage == 1 || (stage == 2 && request.has_two_stages()), "to resume in stage ", stage,
                    ", expected 1", request.has_two_stages() ? " or 2" : "");
  }
  sampling.encode_prompts();
  if (!request.has_two_stages()) {
    sample.result = sampling.run(first_stage(request), {}, {});
  } else {
    TensorView<const float, 2> video;
    TensorView<const float, 2> audio;
    if (!sampling.resumes_in(2)) {
      sample.first_stage = sampling.run(first_stage(request), {}, {});
      sample.upsampled = sampling.upsample(*sample.first_stage);
      video = sample.upsampled->view();
      audio = sample.first_stage->audio.view();
    }
    // The full model's pipelines refine the pictures only: their sound is that of the first stage.
    TensorView<const float, 2> sound;
    if (request.is_guided()) sound = sampling.resumes_in(2) ? hooks.resume->first_sound : audio;
    sample.result = sampling.run(second_stage(request), video, audio, sound);
    if (request.is_guided()) {
      expect_resumable("a sound latent", sound.extents(), sample.result.audio.extents());
      sample.result.audio = sampling.copy(sound, "sound latent");
    }
  }
  sample.prompt = sampling.take_prompt();
  return sample;
}

void decode_frames(const Models& models, const Latents& latents, Runtime& runtime, const FrameConsumer& consume) {
  const Stage stage(runtime, video_decode_stage);
  const VideoGrid& grid = latents.grid;
  decode_video(runtime, models.model(),
               latents.video.view().reshape(Extents<4>{grid.frames, grid.height, grid.width, latents.video.extent(1)}),
               consume);
}

Sound decode_sound(const Models& models, const Latents& latents, Runtime& runtime) {
  const Stage stage(runtime, "audio decode");
  const ModelConfig& config = models.model().config();
  const AudioVaeConfig& vae = *config.audio_vae;
  const std::int64_t frames = latents.audio.extent(0);
  // A token holds channel by channel, the decoder wants the channels last.
  Tensor<float, 3> channels_last(runtime.host_memory("sound latent, channels last"),
                                 {frames, vae.latent_bins(), vae.latent_channels});
  runtime.on_host([&] {
    for (std::int64_t frame = 0; frame < frames; ++frame) {
      for (std::int64_t bin = 0; bin < vae.latent_bins(); ++bin) {
        for (std::int64_t channel = 0; channel < vae.latent_channels; ++channel) {
          channels_last.view()(frame, bin, channel) = latents.audio.view()(frame, channel * vae.latent_bins() + bin);
        }
      }
    }
  });
  Tensor<float, 3> mel(runtime.host_memory("mel"), {mel_frames(vae, frames), vae.mel_bins, vae.out_channels});
  decode_audio(runtime, models.model(), std::as_const(channels_last).view(), mel.view());
  Sound sound{{runtime.host_memory("waveform"), {vocoder_samples(*config.vocoder, mel.extent(0)), 2}},
              config.vocoder->out_rate};
  vocode(runtime, models.model(), std::as_const(mel).view(), sound.waveform.view());
  return sound;
}

}  // namespace ltx2
