// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "audio/filters.hpp"
#include "audio/generator.hpp"
#include "audio/pieces.hpp"
#include "checkpoint/checkpoint.hpp"
#include "config/audio_config.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/convolution.hpp"

namespace ltx2 {

/// Bandwidth extension: adds what lies above the first generator's band to its waveform, at a higher sampling rate.
///
/// Computes  log-mel spectrogram of the waveform, generator of the correction, plus the resampled waveform, clamped
/// Shapes    low [L, 2], wave [factor L, 2]
/// Memory    that of the generator; the spectrum [frames, fft + 2] of one channel
/// Source    docs/ltx2/vae.md 7.2
template <ltxmem::Backend<float> Backend>
class BandwidthExtension {
 public:
  BandwidthExtension(const BandwidthConfig& config, std::int64_t out_rate, const WeightScope& weights)
      : config_(config),
        factor_(out_rate / config.in_rate),
        generator_(config.generator, weights.scope("bwe_generator")),
        frames_{.kernel = {1, 1, config.fft_length},
                .stride = {1, 1, config.hop_length},
                .pad_before = {0, 0, config.fft_length - config.hop_length}},
        transform_(weights.tensor("mel_stft.stft_fn.forward_basis", {config.fft_length + 2, 1, config.fft_length})),
        mel_(weights.matrix("mel_stft.mel_basis", config.mel_bins, bins())) {
    ltxmem::expects<ltxmem::IoError>(
        out_rate % config.in_rate == 0 && config.generator.factor() == factor_ * config.hop_length &&
            config.hop_length <= config.fft_length &&
            config.mel_bins * Generator<Backend>::wave_channels == Generator<Backend>::mel_channels,
        "bandwidth extension from ", config.in_rate, " to ", out_rate, " Hz with a generator of factor ",
        config.generator.factor(), ", hop ", config.hop_length, ", ", config.mel_bins, " bins: does not fit together");
  }

  std::int64_t factor() const noexcept { return factor_; }

  /// In samples of low, from that of the samples of wave.
  ReceptiveField field(const ReceptiveField& samples) const {
    const ReceptiveField resampled =
        samples.through(ltxmem::TransposedConvolutionArguments{.kernel = factor_, .stride = factor_});
    return either(resampled.through_filter(ResampleAndAdd::reach), generator_.field(samples).through(frames_, 2));
  }

  /// L is a multiple of the hop.
  void operator()(Backend& backend, ltxmem::TensorView<const float, 2> low, ltxmem::TensorView<float, 2> wave,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t frames = low.extent(0) / config_.hop_length;
    const auto correction = arena.take<float, 2>("bandwidth correction", {generator_.samples(frames), low.extent(1)});
    const auto mel = arena.take<float, 2>("bandwidth mel", {frames, Generator<Backend>::mel_channels});
    for (std::int64_t channel = 0; channel < low.extent(1); ++channel) {
      log_mel(backend, low.columns(channel, 1), mel.columns(channel * config_.mel_bins, config_.mel_bins), arena);
    }
    for_each_row(backend, "log mel", frames, 2 * mel.size(), LogFloor{mel});
    generator_(backend, mel, correction, arena);
    for_each_row(backend, "resample", wave.extent(0), 3 * wave.size(), ResampleAndAdd(low, correction, wave, factor_));
  }

 private:
  std::int64_t bins() const noexcept { return config_.fft_length / 2 + 1; }

  /// Mel spectrogram of one channel; frames end at their hop's last sample.
  void log_mel(Backend& backend, ltxmem::TensorView<const float, 2> channel, ltxmem::TensorView<float, 2> mel,
               ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t frames = mel.extent(0);
    const auto spectrum = arena.take<float, 2>("spectrum", {frames, 2 * bins()});
    const auto magnitude = arena.take<float, 2>("magnitudes", {frames, bins()});
    const ltxmem::TensorView<const float, 4> signal(channel.data(), {1, 1, channel.extent(0), 1},
                                                    {0, 0, channel.stride(0), 1});
    backend.convolve(signal, ltxmem::ConvolutionArguments<float>{.weight = transform_, .geometry = frames_},
                     spectrum.reshape(ltxmem::Extents<4>{1, 1, frames, 2 * bins()}), arena);
    for_each_row(backend, "magnitude", frames, spectrum.size() + magnitude.size(), Magnitude{spectrum, magnitude});
    const std::array term{ltxmem::LinearTerm<float>{.x = magnitude, .weight = mel_}};
    backend.linear(std::span<const ltxmem::LinearTerm<float>>(term), ltxmem::LinearEpilogue<float>{}, mel, arena);
  }

  BandwidthConfig config_;
  std::int64_t factor_;
  Generator<Backend> generator_;
  ltxmem::ConvolutionGeometry frames_;
  ltxmem::WeightMatrix transform_;
  ltxmem::WeightMatrix mel_;
};

/// Log-mel spectrogram to waveform, 2.0 and 2.3. fp32 throughout.
///
/// Shapes    mel [frames, 64, 2], wave [samples(frames), 2] in [-1, 1], both in host memory
/// Memory    that of the generator; with bandwidth extension also the first waveform: all for one piece of so many mel
///           frames and its receptive field (55 frames in front and 52 behind in 2.3), however many there are
/// Source    docs/ltx2/vae.md 7
template <ltxmem::Backend<float> Backend>
class Vocoder {
 public:
  Vocoder(const VocoderConfig& config, const WeightScope& weights)
      : config_(config), generator_(config.generator, config.bandwidth ? weights.scope("vocoder") : weights) {
    if (config.bandwidth) bandwidth_.emplace(*config.bandwidth, config.out_rate, weights);
  }

  std::int64_t samples(std::int64_t frames) const noexcept {
    return generator_.samples(frames) * (bandwidth_ ? bandwidth_->factor() : 1);
  }

  /// In mel frames.
  ReceptiveField field() const { return generator_.field(bandwidth_ ? bandwidth_->field({}) : ReceptiveField{}); }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 3> mel, ltxmem::TensorView<float, 2> wave,
                  std::int64_t piece_frames, ltxmem::Workspace& workspace) const {
    constexpr std::int64_t channels = Generator<Backend>::wave_channels;
    const std::int64_t frames = mel.extent(0);
    ltxmem::expects(
        frames >= 1 && mel.extent(2) == channels && mel.extent(1) * channels == Generator<Backend>::mel_channels,
        "vocode: mel ", ltxmem::extents_text(mel.extents()), ", expected ", Generator<Backend>::mel_channels / channels,
        " bins of ", channels, " channels");
    ltxmem::expects(wave.extents() == ltxmem::Extents<2>{samples(frames), channels}, "vocode: waveform ",
                    ltxmem::extents_text(wave.extents()), ", expected ", samples(frames), " x ", channels);
    for_each_piece(backend, frames, wave.extent(0), samples(1), piece_frames, field(), [&](const Piece& piece) {
      ltxmem::Arena& arena = workspace.device;
      const auto scope = arena.scope();
      const auto result = arena.take<float, 2>("waveform", {samples(piece.inputs), channels});
      run(backend, mel.rows(piece.input_begin, piece.inputs), result, arena);
      backend.copy(ltxmem::TensorView<const float, 2>(result.rows(piece.dropped, piece.outputs)),
                   wave.rows(piece.output_begin, piece.outputs));
    });
  }

 private:
  void run(Backend& backend, ltxmem::TensorView<const float, 3> mel, ltxmem::TensorView<float, 2> wave,
           ltxmem::Arena& arena) const {
    if (!bandwidth_) {
      generate(backend, mel, wave, arena);
      return;
    }
    const auto scope = arena.scope();
    const auto low = arena.take<float, 2>("waveform before bandwidth extension",
                                          {generator_.samples(mel.extent(0)), wave.extent(1)});
    generate(backend, mel, low, arena);
    (*bandwidth_)(backend, low, wave, arena);
  }

  /// wave = the first generator's limited output.
  void generate(Backend& backend, ltxmem::TensorView<const float, 3> mel, ltxmem::TensorView<float, 2> wave,
                ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const ltxmem::Extents<2> extents{mel.extent(0), mel.extent(1) * mel.extent(2)};
    const auto spectrogram = arena.take<float>("mel", extents);
    const auto channels = arena.take<float>("mel by channel", extents);
    backend.copy(mel.reshape(extents), spectrogram);
    for_each_row(backend, "mel by channel", extents[0], 2 * spectrogram.size(),
                 ChannelsOfMel{spectrogram, channels, mel.extent(2)});
    generator_(backend, channels, wave, arena);
    for_each_row(backend, "limit", wave.extent(0), 2 * wave.size(),
                 LimitSamples{wave, wave, config_.generator.final_tanh});
  }

  VocoderConfig config_;
  Generator<Backend> generator_;
  std::optional<BandwidthExtension<Backend>> bandwidth_;
};

}  // namespace ltx2
