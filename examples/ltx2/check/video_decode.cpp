// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/case.hpp"
#include "video_vae/video_vae.hpp"

namespace ltx2 {

HostTensors run_video_decode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const VideoVaeConfig& config = model.config().video_vae.value();
  const HostTensor latent = permuted(test.input("latent"), {0, 2, 3, 4, 1});
  const std::vector<std::int64_t>& n = latent.shape;
  const ltxmem::Extents<4> extents{config.temporal_factor() * (n.at(1) - 1) + 1, config.spatial_factor() * n.at(2),
                                   config.spatial_factor() * n.at(3), 3};
  HostTensor frames = HostTensor::zeros({extents.begin(), extents.end()});
  decode_video(runtime, model, latent.view<4>({n[1], n[2], n[3], n[4]}), frames.view<4>(extents));
  return {{"frames", std::move(frames)}};
}

}  // namespace ltx2
