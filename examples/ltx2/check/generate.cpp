// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>
#include <vector>

#include "check/case.hpp"
#include "media/video_writer.hpp"
#include "pipeline/pipeline.hpp"

namespace ltx2 {
namespace {

template <std::size_t Rank>
HostTensor dense(ltxmem::TensorView<const float, Rank> view) {
  return {{view.extents().begin(), view.extents().end()}, std::vector<float>(view.data(), view.data() + view.size())};
}

/// Video tokens [cells, channels] as the case files hold latents, [1, channels, frames, height, width].
HostTensor video_planes(const VideoGrid& grid, ltxmem::TensorView<const float, 2> tokens) {
  HostTensor planes = HostTensor::zeros({1, tokens.extent(1), grid.frames, grid.height, grid.width});
  video_planes_from_tokens(tokens, planes.view(ltxmem::Extents<2>{tokens.extent(1), tokens.extent(0)}));
  return planes;
}

/// Audio tokens [frames, channels * bins] as [1, channels, frames, bins].
HostTensor audio_planes(const AudioVaeConfig& vae, ltxmem::TensorView<const float, 2> tokens) {
  const ltxmem::Extents<3> extents{vae.latent_channels, tokens.extent(0), vae.latent_bins()};
  HostTensor planes = HostTensor::zeros({1, extents[0], extents[1], extents[2]});
  audio_planes_from_tokens(tokens, planes.view(extents));
  return planes;
}

std::vector<PlacedImage> placed_images(const Case& test) {
  std::vector<PlacedImage> images;
  for (const nlohmann::json& option : test.options.value("images", nlohmann::json::array())) {
    const HostTensor& tensor = test.input("image." + std::to_string(images.size()));
    const auto* pixels = std::get_if<std::vector<std::uint8_t>>(&tensor.values);
    ltxmem::expects<ltxmem::IoError>(pixels != nullptr && tensor.shape.size() == 3 && tensor.shape[2] == 3, test.name,
                                     ": image.", images.size(), " is not a U8 tensor [height, width, 3]");
    images.push_back({{tensor.shape[1], tensor.shape[0], *pixels},
                      option.at("frame").get<std::int64_t>(),
                      option.at("strength").get<float>()});
  }
  return images;
}

GenerateRequest request_of(const Case& test, const CaseModels& models) {
  GenerateRequest request;
  request.checkpoint = models.path_of_model(test);
  request.gemma = models.path(test.options.at("gemma").get<std::string>());
  request.upsampler = models.path(test.options.at("upsampler").get<std::string>());
  request.prompt = test.options.at("prompt").get<std::string>();
  request.max_length = test.options.at("max_length").get<std::int64_t>();
  request.width = test.options.at("width").get<std::int64_t>();
  request.height = test.options.at("height").get<std::int64_t>();
  request.frames = test.options.at("frames").get<std::int64_t>();
  request.fps = test.options.at("fps").get<double>();
  validate(request);
  return request;
}

}  // namespace

HostTensors run_generate_case(const Case& test, CaseModels& case_models, Runtime& runtime) {
  const GenerateRequest request = request_of(test, case_models);
  Models models(request, runtime.host_work().values(misaligned_copies));
  const std::vector<PlacedImage> images = placed_images(test);
  PipelineHooks hooks;
  hooks.initial_noise = [&](int stage, Modality modality, ltxmem::TensorView<float, 2> noise) {
    const std::string name =
        "stage" + std::to_string(stage) + (modality == Modality::video ? ".video.noise" : ".audio.noise");
    const auto stored = test.input(name).view(noise.extents());
    std::copy(stored.data(), stored.data() + stored.size(), noise.data());
  };
  const Sample sample = run_pipeline(request, models, images, runtime, hooks);
  HostTensor frames = HostTensor::zeros({request.frames, request.height, request.width, 3});
  const auto all = frames.view<4>({request.frames, request.height, request.width, 3});
  std::int64_t decoded = 0;
  decode_frames(models, sample.result, runtime, [&](ltxmem::TensorView<const float, 4> next) {
    std::copy_n(next.data(), next.size(), all.rows(decoded, next.extent(0)).data());
    decoded += next.extent(0);
  });
  const Sound sound = decode_sound(models, sample.result, runtime);
  if (runtime.is_dry()) return {};

  const AudioVaeConfig& vae = *models.model().config().audio_vae;
  HostTensors outputs;
  outputs["video.context"] = dense(sample.prompt.video.view());
  outputs["audio.context"] = dense(sample.prompt.audio.view());
  outputs["stage1.video.latent"] = video_planes(sample.first_stage->grid, sample.first_stage->video.view());
  outputs["stage1.audio.latent"] = audio_planes(vae, sample.first_stage->audio.view());
  outputs["upsampled.video.latent"] = video_planes(sample.result.grid, sample.upsampled->view());
  outputs["video.latent"] = video_planes(sample.result.grid, sample.result.video.view());
  outputs["audio.latent"] = audio_planes(vae, sample.result.audio.view());
  outputs["video.frames"] = std::move(frames);
  std::vector<std::uint8_t> levels;
  for (const float value : outputs["video.frames"].floats()) levels.push_back(to_level(value));
  outputs["video.uint8"] = {outputs["video.frames"].shape, std::move(levels)};
  outputs["audio.waveform"] = permuted(dense(sound.waveform.view()), {1, 0});
  outputs["audio.sampling_rate"] = {{1}, std::vector<std::int32_t>{static_cast<std::int32_t>(sound.sample_rate)}};
  return outputs;
}

}  // namespace ltx2
