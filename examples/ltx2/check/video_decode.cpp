// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/case.hpp"
#include "video_vae/video_vae.hpp"

namespace ltx2 {

HostTensors run_video_decode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const HostTensor latent = permuted(test.input("latent"), {0, 2, 3, 4, 1});
  const std::vector<std::int64_t>& n = latent.shape;
  const ltxmem::Extents<4> cells{n.at(1), n.at(2), n.at(3), n.at(4)};
  const ltxmem::Extents<4> extents = decoded_extents(model.config().video_vae.value(), cells);
  HostTensor frames = HostTensor::zeros({extents.begin(), extents.end()});
  decode_video(runtime, model, latent.view<4>(cells), frames.view<4>(extents));
  return {{"frames", std::move(frames)}};
}

}  // namespace ltx2
