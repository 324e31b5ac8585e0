// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/denoise.hpp"

#include <list>
#include <string>
#include <vector>

#include "check/case.hpp"
#include "sampler/transformer_velocity.hpp"

namespace ltx2 {

namespace {

using ltxmem::expects;
using ltxmem::IoError;
using ltxmem::TensorView;

/// A tensor [1, ...] of a case without its batch.
template <std::size_t Rank>
TensorView<const float, Rank> sample_of(const Case& test, const std::string& name) {
  const HostTensor& tensor = test.input(name);
  expects<IoError>(tensor.shape.size() == Rank + 1 && tensor.shape[0] == 1, "case ", test.name, ": ", name, " of rank ",
                   tensor.shape.size(), ", expected ", Rank + 1, " with a batch of 1 in front");
  ltxmem::Extents<Rank> extents{};
  std::copy(tensor.shape.begin() + 1, tensor.shape.end(), extents.begin());
  return tensor.view(extents);
}

/// Latent tokens of a case with the memory that holds them.
struct Tokens {
  std::int64_t count = 0;
  std::int64_t channels = 0;
  std::vector<float> values;

  TensorView<float, 2> view() { return {values.data(), {count, channels}}; }
};

/// A video latent [1, C, F, h, w] as tokens.
Tokens video_tokens(const Case& test, const std::string& name) {
  const TensorView<const float, 4> latent = sample_of<4>(test, name);
  Tokens tokens{latent.extent(1) * latent.extent(2) * latent.extent(3), latent.extent(0), {}};
  tokens.values.resize(static_cast<std::size_t>(latent.size()));
  video_tokens_from_planes(latent.reshape(ltxmem::Extents<2>{tokens.channels, tokens.count}), tokens.view());
  return tokens;
}

/// An audio latent [1, z, Ta, bins] as tokens.
Tokens audio_tokens(const Case& test, const std::string& name) {
  const TensorView<const float, 3> latent = sample_of<3>(test, name);
  Tokens tokens{latent.extent(1), latent.extent(0) * latent.extent(2), {}};
  tokens.values.resize(static_cast<std::size_t>(latent.size()));
  audio_tokens_from_planes(latent, tokens.view());
  return tokens;
}

Solver solver_of(const Case& test) {
  const std::string name = test.options.at("solver");
  expects<IoError>(name == "euler" || name == "res_2s", "case ", test.name, ": unknown solver ", name);
  return name == "euler" ? Solver::euler : Solver::res_2s;
}

ModalityGuidance guidance_of(const nlohmann::json& options) {
  ModalityGuidance guidance;
  guidance.cfg = options.value("cfg", guidance.cfg);
  guidance.stg = options.value("stg", guidance.stg);
  guidance.modality = options.value("modality", guidance.modality);
  guidance.rescale = options.value("rescale", guidance.rescale);
  guidance.stg_blocks = options.value("stg_blocks", guidance.stg_blocks);
  guidance.skip_step = options.value("skip_step", guidance.skip_step);
  return guidance;
}

/// The raw draws that the case holds for res_2s.
DrawNoise recorded_noise(const Case& test) {
  return [&test](Modality modality, NoisePurpose purpose, std::int64_t step, TensorView<float, 2> noise) {
    const std::string name = "noise." + std::to_string(step) + (purpose == NoisePurpose::midpoint ? ".sub" : ".step") +
                             (modality == Modality::video ? ".video" : ".audio");
    const TensorView<const float, 2> recorded = sample_of<2>(test, name);
    expects<IoError>(recorded.extents() == noise.extents(), "case ", test.name, ": ", name, " of another shape");
    std::copy_n(recorded.data(), recorded.size(), noise.data());
  };
}

ContextViews contexts(const Case& test, const std::string& name) {
  return {sample_of<2>(test, "video." + name), sample_of<2>(test, "audio." + name)};
}

/// The size of the clip that the case describes.
struct Clip {
  double fps = 24;
  VideoGrid grid;
};

Clip clip_of(const nlohmann::json& options) {
  return {options.at("fps"), video_grid(options.at("frames"), options.at("height"), options.at("width"))};
}

LatentState video_state(const Case& test, Runtime& runtime, const Clip& clip, std::int64_t channels) {
  Tokens initial;
  if (test.has_input("video.initial")) initial = video_tokens(test, "video.initial");
  std::list<Tokens> images;
  std::vector<ImageCondition> conditions;
  for (const nlohmann::json& condition : test.options.value("conditions", nlohmann::json::array())) {
    images.push_back(video_tokens(test, "condition." + std::to_string(images.size())));
    conditions.push_back({images.back().view(), condition.at("frame"), condition.at("strength")});
  }
  return make_video_state(runtime.host_work(), clip.grid, channels, clip.fps, initial.view(), conditions);
}

LatentState audio_state(const Case& test, Runtime& runtime, std::int64_t tokens, std::int64_t channels) {
  Tokens initial;
  if (test.has_input("audio.initial")) initial = audio_tokens(test, "audio.initial");
  return make_audio_state(runtime.host_work(), tokens, channels, initial.view());
}

}  // namespace

HostTensors run_denoise_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const nlohmann::json& options = test.options;
  const Checkpoint& checkpoint = models.model_of(test);
  expects<IoError>(checkpoint.config().transformer.has_value(), "case ", test.name, ": the model has no transformer");
  const Clip clip = clip_of(options);
  const TensorView<const float, 2> video_noise = sample_of<2>(test, "video.noise");
  const TensorView<const float, 2> audio_noise = sample_of<2>(test, "audio.noise");
  LatentState video = video_state(test, runtime, clip, video_noise.extent(1));
  LatentState audio = audio_state(test, runtime, audio_noise.extent(0), audio_noise.extent(1));
  const float noise_scale = options.value("noise_scale", 1.0F);
  add_noise(runtime.host_work(), video, video_noise, noise_scale);
  add_noise(runtime.host_work(), audio, audio_noise, noise_scale);

  DenoiseOptions denoising;
  denoising.solver = solver_of(test);
  denoising.draw_noise = recorded_noise(test);
  if (options.contains("guidance")) {
    denoising.guidance = {guidance_of(options.at("guidance").at("video")),
                          guidance_of(options.at("guidance").at("audio"))};
  }
  TransformerModel model(runtime, checkpoint);
  TransformerVelocity velocity(
      model, checkpoint.config().transformer->layers, video, audio, contexts(test, "context"),
      test.has_input("video.negative_context") ? contexts(test, "negative_context") : ContextViews{});
  velocity.share_prefix(shared_blocks(denoising.guidance));
  const std::vector<float>& sigmas = test.input("sigmas").floats();
  denoise(video, audio, sigmas, denoising, velocity, runtime.host_work());

  constexpr std::int64_t audio_bins = 16;
  HostTensors outputs;
  HostTensor& video_latent = outputs["video.latent"] =
      HostTensor::zeros({1, video.channels(), clip.grid.frames, clip.grid.height, clip.grid.width});
  const ltxmem::Extents<3> planes{audio.channels() / audio_bins, audio.tokens(), audio_bins};
  HostTensor& audio_latent = outputs["audio.latent"] = HostTensor::zeros({1, planes[0], planes[1], planes[2]});
  runtime.on_host([&] {
    const ltxmem::Extents<2> extents{video.channels(), clip.grid.tokens()};
    video_planes_from_tokens(video.result(), video_latent.view(extents));
    audio_planes_from_tokens(audio.result(), audio_latent.view(planes));
  });
  return outputs;
}

}  // namespace ltx2
