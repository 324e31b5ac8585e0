// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/audio.hpp"

#include <cstddef>
#include <optional>
#include <type_traits>

#include "audio/decoder.hpp"
#include "audio/encoder.hpp"
#include "audio/vocoder.hpp"

namespace ltx2 {

namespace {

template <class Config>
const Config& present(const std::optional<Config>& config, const Checkpoint& checkpoint, const char* what) {
  ltxmem::expects<ltxmem::IoError>(config.has_value(), checkpoint.tensors().name(), ": no ", what, " in this file");
  return *config;
}

}  // namespace

std::int64_t mel_frames(const AudioVaeConfig& config, std::int64_t latent_frames) {
  return config.factor() * (latent_frames - 1) + 1;
}

std::int64_t latent_frames(const AudioVaeConfig& config, std::int64_t mel_frames) {
  std::int64_t frames = mel_frames;
  for (std::size_t level = 1; level < config.multipliers.size(); ++level) frames = ltxmem::ceil_div(frames, 2);
  return frames;
}

std::int64_t vocoder_samples(const VocoderConfig& config, std::int64_t mel_frames) {
  const std::int64_t samples = mel_frames * config.generator.factor();
  return config.bandwidth ? samples * (config.out_rate / config.bandwidth->in_rate) : samples;
}

void encode_audio(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
                  ltxmem::TensorView<float, 3> latent) {
  const AudioVaeConfig& config = present(checkpoint.config().audio_vae, checkpoint, "audio autoencoder");
  runtime.run("audio encode", [&](auto& backend, ltxmem::Workspace& workspace) {
    const AudioEncoder<float, std::decay_t<decltype(backend)>> encode(config, checkpoint);
    encode(backend, mel, latent, workspace);
  });
}

void decode_audio(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> latent,
                  ltxmem::TensorView<float, 3> mel) {
  const AudioVaeConfig& config = present(checkpoint.config().audio_vae, checkpoint, "audio autoencoder");
  runtime.run("audio decode", [&](auto& backend, ltxmem::Workspace& workspace) {
    const AudioDecoder<float, std::decay_t<decltype(backend)>> decode(config, checkpoint);
    decode(backend, latent, mel, workspace);
  });
}

void vocode(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
            ltxmem::TensorView<float, 2> waveform) {
  const VocoderConfig& config = present(checkpoint.config().vocoder, checkpoint, "vocoder");
  runtime.run("vocode", [&](auto& backend, ltxmem::Workspace& workspace) {
    const Vocoder<std::decay_t<decltype(backend)>> run(config, checkpoint);
    run(backend, mel, waveform, workspace);
  });
}

}  // namespace ltx2
