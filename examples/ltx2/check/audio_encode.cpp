// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/audio.hpp"
#include "check/case.hpp"
#include "media/log_mel.hpp"

namespace ltx2 {

namespace {

/// The spectrogram [1, channels, frames, bins] that a case gives, or that of the waveform that it gives.
HostTensor spectrogram(const Case& test, const AudioVaeConfig& config) {
  if (test.options.value("from", "mel") == "mel") return test.input("mel");
  const HostTensor& waveform = test.input("waveform");
  const LogMelConfig mel_config{.sample_rate = config.sampling_rate,
                                .filter_length = config.fft_length,
                                .hop_length = config.hop_length,
                                .mel_bins = config.mel_bins};
  const std::int64_t channels = waveform.shape.at(1);
  return {{1, channels, log_mel_frames(waveform.shape.at(2), mel_config), config.mel_bins},
          log_mel(waveform.floats(), channels, mel_config)};
}

}  // namespace

HostTensors run_audio_encode_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const AudioVaeConfig& config = model.config().audio_vae.value();
  const HostTensor computed = spectrogram(test, config);
  const HostTensor mel = permuted(computed, {0, 2, 3, 1});
  const std::vector<std::int64_t>& n = mel.shape;
  const ltxmem::Extents<3> extents{latent_frames(config, n.at(1)), config.latent_bins(), config.latent_channels};
  HostTensor latent = HostTensor::zeros({1, extents[0], extents[1], extents[2]});
  encode_audio(runtime, model, mel.view<3>({n[1], n[2], n[3]}), latent.view<3>(extents));
  HostTensors outputs{{"latent", permuted(latent, {0, 3, 1, 2})}};
  if (!test.has_input("mel")) outputs.emplace("mel", computed);
  return outputs;
}

}  // namespace ltx2
