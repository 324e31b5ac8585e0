// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/audio.hpp"

#include <cstddef>
#include <optional>
#include <type_traits>

#include "audio/decoder.hpp"
#include "audio/encoder.hpp"
#include "audio/vocoder.hpp"
#include "runtime/resident_weights.hpp"

namespace ltx2 {

namespace {

/// Pieces of about ten seconds: what is computed twice stays near a tenth, memory below 400 MiB.
constexpr std::int64_t decoder_piece_frames = 256;
constexpr std::int64_t vocoder_piece_frames = 1024;

template <class Config>
const Config& present(const std::optional<Config>& config, const Checkpoint& checkpoint, const char* what) {
  ltxmem::expects<ltxmem::IoError>(config.has_value(), checkpoint.tensors().name(), ": no ", what, " in this file");
  return *config;
}

const AudioVaeConfig& autoencoder_of(const Checkpoint& checkpoint) {
  return present(checkpoint.config().audio_vae, checkpoint, "audio autoencoder");
}
const VocoderConfig& vocoder_of(const Checkpoint& checkpoint) {
  return present(checkpoint.config().vocoder, checkpoint, "vocoder");
}

auto encode_body(const Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
                 ltxmem::TensorView<float, 3> latent) {
  return [&runtime, &checkpoint, mel, latent](auto& backend, ltxmem::Workspace& workspace) {
    ResidentWeights weights(backend, runtime, checkpoint, "audio_vae.", {"decoder."}, workspace);
    const AudioEncoder<float, std::decay_t<decltype(backend)>> encode(autoencoder_of(checkpoint), weights.scope());
    encode(backend, mel, latent, workspace);
  };
}

auto decode_body(const Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> latent,
                 ltxmem::TensorView<float, 3> mel) {
  return [&runtime, &checkpoint, mel, latent](auto& backend, ltxmem::Workspace& workspace) {
    ResidentWeights weights(backend, runtime, checkpoint, "audio_vae.", {"encoder."}, workspace);
    const AudioDecoder<float, std::decay_t<decltype(backend)>> decode(autoencoder_of(checkpoint), weights.scope());
    decode(backend, latent, mel, decoder_piece_frames, workspace);
  };
}

auto vocode_body(const Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
                 ltxmem::TensorView<float, 2> waveform) {
  return [&runtime, &checkpoint, mel, waveform](auto& backend, ltxmem::Workspace& workspace) {
    ResidentWeights weights(backend, runtime, checkpoint, "vocoder.", {}, workspace);
    const Vocoder<std::decay_t<decltype(backend)>> run(vocoder_of(checkpoint), weights.scope());
    run(backend, mel, waveform, vocoder_piece_frames, workspace);
  };
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
  runtime.run("audio encode", encode_body(runtime, checkpoint, mel, latent));
}

Runtime::Plan plan_encode_audio(const Runtime& runtime, const Checkpoint& checkpoint, std::int64_t mel_frames) {
  const AudioVaeConfig& config = autoencoder_of(checkpoint);
  const ltxmem::Extents<3> mel{mel_frames, config.mel_bins, config.in_channels};
  const ltxmem::Extents<3> latent{latent_frames(config, mel_frames), config.latent_bins(), config.latent_channels};
  return runtime.plan(encode_body(runtime, checkpoint, {nullptr, mel}, {nullptr, latent}));
}

void decode_audio(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> latent,
                  ltxmem::TensorView<float, 3> mel) {
  runtime.run("audio decode", decode_body(runtime, checkpoint, latent, mel));
}

Runtime::Plan plan_decode_audio(const Runtime& runtime, const Checkpoint& checkpoint, std::int64_t latent_frames) {
  const AudioVaeConfig& config = autoencoder_of(checkpoint);
  const ltxmem::Extents<3> latent{latent_frames, config.latent_bins(), config.latent_channels};
  const ltxmem::Extents<3> mel{mel_frames(config, latent_frames), config.mel_bins, config.out_channels};
  return runtime.plan(decode_body(runtime, checkpoint, {nullptr, latent}, {nullptr, mel}));
}

void vocode(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
            ltxmem::TensorView<float, 2> waveform) {
  runtime.run("vocode", vocode_body(runtime, checkpoint, mel, waveform));
}

Runtime::Plan plan_vocode(const Runtime& runtime, const Checkpoint& checkpoint, std::int64_t mel_frames) {
  const VocoderConfig& config = vocoder_of(checkpoint);
  constexpr std::int64_t stereo = Generator<HostBackend>::wave_channels;
  const ltxmem::Extents<3> mel{mel_frames, Generator<HostBackend>::mel_channels / stereo, stereo};
  const ltxmem::Extents<2> waveform{vocoder_samples(config, mel_frames), stereo};
  return runtime.plan(vocode_body(runtime, checkpoint, {nullptr, mel}, {nullptr, waveform}));
}

}  // namespace ltx2
