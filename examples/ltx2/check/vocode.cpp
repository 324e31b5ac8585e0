// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/audio.hpp"
#include "check/case.hpp"

namespace ltx2 {

HostTensors run_vocode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const HostTensor mel = permuted(test.input("mel"), {0, 2, 3, 1});
  const std::vector<std::int64_t>& n = mel.shape;
  const std::int64_t samples = vocoder_samples(model.config().vocoder.value(), n.at(1));
  HostTensor waveform = HostTensor::zeros({1, samples, n.at(3)});
  vocode(runtime, model, mel.view<3>({n[1], n[2], n[3]}), waveform.view<2>({samples, n[3]}));
  return {{"waveform", permuted(waveform, {0, 2, 1})}};
}

}  // namespace ltx2
