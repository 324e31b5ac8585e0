// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "video_vae/video_vae.hpp"

#include <type_traits>

#include "video_vae/decoder.hpp"
#include "video_vae/encoder.hpp"

namespace ltx2 {

namespace {

const VideoVaeConfig& config_of(const Checkpoint& checkpoint) {
  ltxmem::expects<ltxmem::IoError>(checkpoint.config().video_vae.has_value(), checkpoint.tensors().name(),
                                   ": no video autoencoder in this file");
  return *checkpoint.config().video_vae;
}

template <class T>
auto encode_body(const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> video,
                 ltxmem::TensorView<float, 4> latent) {
  return [&checkpoint, video, latent](auto& backend, ltxmem::Workspace& workspace) {
    const VideoEncoder<T, std::decay_t<decltype(backend)>> encode(config_of(checkpoint), checkpoint);
    encode(backend, video, latent, workspace);
  };
}

template <class T>
auto decode_body(const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                 ltxmem::TensorView<float, 4> frames) {
  return [&checkpoint, latent, frames](auto& backend, ltxmem::Workspace& workspace) {
    const VideoDecoder<T, std::decay_t<decltype(backend)>> decode(config_of(checkpoint), checkpoint);
    decode(backend, latent, frames, workspace);
  };
}

}  // namespace

ltxmem::Extents<4> encoded_extents(const VideoVaeConfig& config, const ltxmem::Extents<4>& video) {
  return {(video[0] - 1) / config.temporal_factor() + 1, video[1] / config.spatial_factor(),
          video[2] / config.spatial_factor(), config.latent_channels};
}

ltxmem::Extents<4> decoded_extents(const VideoVaeConfig& config, const ltxmem::Extents<4>& latent) {
  return {config.temporal_factor() * (latent[0] - 1) + 1, config.spatial_factor() * latent[1],
          config.spatial_factor() * latent[2], 3};
}

void encode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> video,
                  ltxmem::TensorView<float, 4> latent) {
  runtime.with_element([&]<class T>() { runtime.run("video encode", encode_body<T>(checkpoint, video, latent)); });
}

Runtime::Plan plan_encode_video(const Runtime& runtime, const Checkpoint& checkpoint, const ltxmem::Extents<4>& video) {
  const ltxmem::Extents<4> latent = encoded_extents(config_of(checkpoint), video);
  return runtime.with_element([&]<class T>() {
    return runtime.plan(encode_body<T>(checkpoint, {nullptr, video}, {nullptr, latent}));
  });
}

void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  ltxmem::TensorView<float, 4> frames) {
  runtime.with_element([&]<class T>() { runtime.run("video decode", decode_body<T>(checkpoint, latent, frames)); });
}

Runtime::Plan plan_decode_video(const Runtime& runtime, const Checkpoint& checkpoint,
                                const ltxmem::Extents<4>& latent) {
  const ltxmem::Extents<4> frames = decoded_extents(config_of(checkpoint), latent);
  return runtime.with_element([&]<class T>() {
    return runtime.plan(decode_body<T>(checkpoint, {nullptr, latent}, {nullptr, frames}));
  });
}

}  // namespace ltx2
