// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/audio.hpp"
#include "check/case.hpp"

namespace ltx2 {

HostTensors run_audio_decode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const AudioVaeConfig& config = model.config().audio_vae.value();
  const HostTensor latent = permuted(test.input("latent"), {0, 2, 3, 1});
  const std::vector<std::int64_t>& n = latent.shape;
  const ltxmem::Extents<3> extents{mel_frames(config, n.at(1)), config.mel_bins, config.out_channels};
  HostTensor mel = HostTensor::zeros({1, extents[0], extents[1], extents[2]});
  decode_audio(runtime, model, latent.view<3>({n[1], n[2], n[3]}), mel.view<3>(extents));
  return {{"mel", permuted(mel, {0, 3, 1, 2})}};
}

}  // namespace ltx2
