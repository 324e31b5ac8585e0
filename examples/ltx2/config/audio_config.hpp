// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/json_fields.hpp"

/// What `config.audio_vae` and `config.vocoder` say.
/// Source  docs/ltx2/vae.md 6-7

namespace ltx2 {

struct AudioVaeConfig {
  std::int64_t channels = 128;  ///< `ch`
  std::vector<std::int64_t> multipliers{1, 2, 4};
  std::int64_t residual_blocks = 2;
  std::int64_t latent_channels = 8;  ///< `z_channels`
  std::int64_t in_channels = 2;
  std::int64_t out_channels = 2;
  std::int64_t mel_bins = 64;
  std::int64_t sampling_rate = 16000;
  std::int64_t fft_length = 1024;
  std::int64_t hop_length = 160;

  /// Mel frames per latent frame, and mel bins per latent bin.
  std::int64_t factor() const noexcept { return std::int64_t{1} << (multipliers.size() - 1); }
  std::int64_t latent_bins() const noexcept { return mel_bins / factor(); }
};

/// A waveform generator: convolutions, upsampling stages, residual blocks.
struct GeneratorConfig {
  std::int64_t initial_channels = 1024;
  std::vector<std::int64_t> rates{6, 5, 2, 2, 2};
  std::vector<std::int64_t> kernels{16, 15, 8, 4, 4};
  std::vector<std::int64_t> residual_kernels{3, 7, 11};
  std::vector<std::vector<std::int64_t>> dilations{{1, 3, 5}, {1, 3, 5}, {1, 3, 5}};
  bool anti_aliased = false;  ///< "AMP1" blocks with snake activations (2.3) instead of leaky ReLU (2.0)
  bool final_bias = true;
  bool final_tanh = true;

  std::int64_t final_channels() const noexcept { return initial_channels >> rates.size(); }
  std::int64_t factor() const noexcept {  ///< samples per mel frame
    std::int64_t product = 1;
    for (const std::int64_t rate : rates) product *= rate;
    return product;
  }
};

/// Bandwidth extension: a second generator on the mel spectrogram of the first one's output.
struct BandwidthConfig {
  GeneratorConfig generator;
  std::int64_t fft_length = 512;
  std::int64_t hop_length = 80;
  std::int64_t mel_bins = 64;
  std::int64_t in_rate = 16000;
};

struct VocoderConfig {
  GeneratorConfig generator;
  std::optional<BandwidthConfig> bandwidth;  ///< 2.3
  std::int64_t out_rate = 24000;
};

/// IoError naming source, key, found and expected for anything missing, malformed or not supported.
AudioVaeConfig parse_audio_vae_config(const Fields& audio_vae);
VocoderConfig parse_vocoder_config(const Fields& vocoder);

}  // namespace ltx2
