// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/case.hpp"
#include "video_vae/video_vae.hpp"

namespace ltx2 {

HostTensors run_video_encode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const HostTensor video = permuted(test.input("video"), {0, 2, 3, 4, 1});
  const std::vector<std::int64_t>& n = video.shape;
  const ltxmem::Extents<4> pixels{n.at(1), n.at(2), n.at(3), n.at(4)};
  const ltxmem::Extents<4> extents = encoded_extents(model.config().video_vae.value(), pixels);
  HostTensor latent = HostTensor::zeros({1, extents[0], extents[1], extents[2], extents[3]});
  encode_video(runtime, model, video.view<4>(pixels), latent.view<4>(extents));
  return {{"latent", permuted(latent, {0, 4, 1, 2, 3})}};
}

}  // namespace ltx2
