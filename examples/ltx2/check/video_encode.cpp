// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/case.hpp"
#include "video_vae/video_vae.hpp"

namespace ltx2 {

HostTensors run_video_encode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const VideoVaeConfig& config = model.config().video_vae.value();
  const HostTensor video = permuted(test.input("video"), {0, 2, 3, 4, 1});
  const std::vector<std::int64_t>& n = video.shape;
  const ltxmem::Extents<4> extents{(n.at(1) - 1) / config.temporal_factor() + 1, n.at(2) / config.spatial_factor(),
                                   n.at(3) / config.spatial_factor(), config.latent_channels};
  HostTensor latent = HostTensor::zeros({1, extents[0], extents[1], extents[2], extents[3]});
  encode_video(runtime, model, video.view<4>({n[1], n[2], n[3], n[4]}), latent.view<4>(extents));
  return {{"latent", permuted(latent, {0, 4, 1, 2, 3})}};
}

}  // namespace ltx2
