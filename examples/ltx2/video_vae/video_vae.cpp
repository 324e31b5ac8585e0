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

}  // namespace

void encode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> video,
                  ltxmem::TensorView<float, 4> latent) {
  runtime.with_element([&]<class T>() {
    runtime.run("video encode", [&](auto& backend, ltxmem::Workspace& workspace) {
      const VideoEncoder<T, std::decay_t<decltype(backend)>> encode(config_of(checkpoint), checkpoint);
      encode(backend, video, latent, workspace);
    });
  });
}

void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  ltxmem::TensorView<float, 4> frames) {
  runtime.with_element([&]<class T>() {
    runtime.run("video decode", [&](auto& backend, ltxmem::Workspace& workspace) {
      const VideoDecoder<T, std::decay_t<decltype(backend)>> decode(config_of(checkpoint), checkpoint);
      decode(backend, latent, frames, workspace);
    });
  });
}

}  // namespace ltx2
