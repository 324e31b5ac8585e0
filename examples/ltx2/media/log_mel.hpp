// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ltx2 {

/// What the audio encoder's metadata says under config.audio_vae: preprocessing.stft, preprocessing.mel, model.params.
struct LogMelConfig {
  std::int64_t sample_rate = 16000;   ///< sampling_rate
  std::int64_t filter_length = 1024;  ///< a power of two
  std::int64_t hop_length = 160;
  std::int64_t mel_bins = 64;  ///< n_mel_channels
};

/// 1 + floor(samples / hop)
std::int64_t log_mel_frames(std::int64_t samples, const LogMelConfig& config);

/// Logarithm of the mel spectrogram of sound, the input of the audio encoder.
///
/// Computes  frames centred at multiples of the hop (the signal mirrored at both ends without repeating the edge
/// sample),
///           periodic Hann window, |FFT|, triangular filters from 0 to half the sample rate on Slaney's mel scale, each
///           of area 1 in Hz, ln(max(value, 1e-5))
/// Shapes    waveform [channels, samples], samples > filter_length / 2; result [channels, frames, mel_bins]
/// Cost      5 L log2 L flops per frame for filter length L
/// Numerics  double inside
/// Throws    ShapeError
/// Source    vae.md section 6; M. Slaney, Auditory Toolbox (1998): mel = 3 f / 200 below 1 kHz, above it
///           27 steps for each factor 6.4 in frequency
std::vector<float> log_mel(std::span<const float> waveform, std::int64_t channels, const LogMelConfig& config = {});

}  // namespace ltx2
