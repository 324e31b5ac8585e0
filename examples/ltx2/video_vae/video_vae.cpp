// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "video_vae/video_vae.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ltxmem/core/tensor.hpp"
#include "runtime/ledger.hpp"
#include "runtime/resident_weights.hpp"
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
auto encode_body(const Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> video,
                 ltxmem::TensorView<float, 4> latent) {
  return [&runtime, &checkpoint, video, latent](auto& backend, ltxmem::Workspace& workspace) {
    ResidentWeights weights(backend, runtime, checkpoint, "vae.", {"decoder."}, workspace);
    const VideoEncoder<T, std::decay_t<decltype(backend)>> encode(config_of(checkpoint), weights.scope());
    encode(backend, video, latent, runtime.settings().decode_frames, workspace);
  };
}

template <class T>
auto decode_body(const Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                 const FrameConsumer& consume) {
  return [&runtime, &checkpoint, latent, &consume](auto& backend, ltxmem::Workspace& workspace) {
    using Backend = std::decay_t<decltype(backend)>;
    const Settings& settings = runtime.settings();
    ResidentWeights weights(backend, runtime, checkpoint, "vae.", {"encoder."}, workspace);
    const VideoDecoder<T, Backend> decode(config_of(checkpoint), weights.scope());
    decode(backend, latent, {settings.decode_frames, settings.decode_tile}, workspace,
           [&](Backend&, ltxmem::TensorView<const float, 4> frames) {
             if constexpr (std::is_same_v<Backend, CardBackend>) backend.synchronize();  // they may be on their way
             if constexpr (!std::is_same_v<Backend, PlanBackend>) consume(frames);       // a dry run makes none
           });
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
  runtime.with_element(
      [&]<class T>() { runtime.run("video encode", encode_body<T>(runtime, checkpoint, video, latent)); });
}

Runtime::Plan plan_encode_video(const Runtime& runtime, const Checkpoint& checkpoint, const ltxmem::Extents<4>& video) {
  VirtualResource nowhere;
  const ltxmem::Tensor<float, 4> pixels(nowhere, video);
  ltxmem::Tensor<float, 4> latent(nowhere, encoded_extents(config_of(checkpoint), video));
  return runtime.with_element(
      [&]<class T>() { return runtime.plan(encode_body<T>(runtime, checkpoint, pixels.view(), latent.view())); });
}

void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  const FrameConsumer& consume) {
  runtime.with_element(
      [&]<class T>() { runtime.run("video decode", decode_body<T>(runtime, checkpoint, latent, consume)); });
}

void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  ltxmem::TensorView<float, 4> frames) {
  const ltxmem::Extents<4> expected = decoded_extents(config_of(checkpoint), latent.extents());
  ltxmem::expects(frames.extents() == expected, "video decode: frames ", ltxmem::extents_text(frames.extents()),
                  ", expected ", ltxmem::extents_text(expected));
  std::int64_t written = 0;
  decode_video(runtime, checkpoint, latent, [&](ltxmem::TensorView<const float, 4> next) {
    std::copy_n(next.data(), next.size(), frames.rows(written, next.extent(0)).data());
    written += next.extent(0);
  });
}

Runtime::Plan plan_decode_video(const Runtime& runtime, const Checkpoint& checkpoint,
                                const ltxmem::Extents<4>& latent) {
  VirtualResource nowhere;
  const ltxmem::Tensor<float, 4> cells(nowhere, latent);
  return runtime.with_element(
      [&]<class T>() { return runtime.plan(decode_body<T>(runtime, checkpoint, cells.view(), {})); });
}

}  // namespace ltx2
