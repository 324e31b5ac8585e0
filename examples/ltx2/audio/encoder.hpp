// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "audio/layers.hpp"
#include "checkpoint/checkpoint.hpp"
#include "config/audio_config.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/latent_statistics.hpp"

namespace ltx2 {

/// The encoder of the audio autoencoder.
///
/// Computes  conv_in; for every level, finest first, residual blocks and (but for the last) a downsampler; mid blocks;
///           norm, SiLU, the mean channels of conv_out; normalise
/// Shapes    mel [frames, bins, 2], latent [frames halved twice, rounding up; bins / 4; z] normalised
/// Memory    about four times the activations of the finest level, plus the convolution's workspace
/// Source    docs/ltx2/vae.md 6
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class AudioEncoder {
 public:
  /// autoencoder: its weights.
  AudioEncoder(const AudioVaeConfig& config, const WeightScope& autoencoder)
      : config_(config),
        statistics_(LatentStatistics::of(autoencoder, config.latent_channels, config.latent_bins())),
        input_(audio_convolution<T, Backend>(autoencoder.scope("encoder"), "conv_in", config.channels,
                                             config.in_channels)),
        output_(mean_weights(config, autoencoder), audio_geometry(3)) {
    const WeightScope weights = autoencoder.scope("encoder");
    std::int64_t width = config.channels;
    for (std::size_t level = 0; level < config.multipliers.size(); ++level) {
      const WeightScope part = weights.scope("down." + std::to_string(level));
      const std::int64_t outputs = config.channels * config.multipliers[level];
      for (std::int64_t i = 0; i < config.residual_blocks; ++i) {
        layers_.push(AudioResidual<T, Backend>(part.scope("block." + std::to_string(i)), width, outputs));
        width = outputs;
      }
      if (level + 1 < config.multipliers.size()) layers_.push(AudioDownsample<T, Backend>(part, width));
    }
    for (const char* name : {"mid.block_1", "mid.block_2"}) {
      layers_.push(AudioResidual<T, Backend>(weights.scope(name), width, width));
    }
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 3> mel, ltxmem::TensorView<float, 3> latent,
                  ltxmem::Workspace& workspace) const {
    const ltxmem::Extents<4> mel_extents{1, mel.extent(0), mel.extent(1), mel.extent(2)};
    const ltxmem::Extents<4> latent_extents{1, latent.extent(0), latent.extent(1), latent.extent(2)};
    ltxmem::expects(mel.extent(0) >= 1 && mel.extent(1) == config_.mel_bins && mel.extent(2) == config_.in_channels,
                    "audio encode: mel ", ltxmem::extents_text(mel.extents()), ", expected ", config_.mel_bins,
                    " bins of ", config_.in_channels, " channels");
    const ltxmem::Extents<4> first = input_.output_extents(mel_extents);
    const ltxmem::Extents<4> expected = output_.output_extents(layers_.output_extents(first));
    ltxmem::expects(latent_extents == expected, "audio encode: latent ", ltxmem::extents_text(latent_extents),
                    ", expected ", ltxmem::extents_text(expected));
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    const auto normalised = arena.take<float>("audio latent", latent_extents);
    const auto mean = arena.take<T>("audio latent mean", latent_extents);
    const auto x = arena.take<T>("audio encoder activations", layers_.output_extents(first));
    const auto enter = [&](ltxmem::TensorView<T, 4> y) {
      const auto inner = arena.scope();
      const auto input = arena.take<T>("mel", mel_extents);
      backend.copy(as_rows(mel.reshape(mel_extents)), as_rows(input));
      input_(backend, input, y, arena);
    };
    layers_(backend, "audio encoder layer", first, enter, x, arena);
    audio_norm_silu<T>(backend, x, x);
    output_(backend, x, mean, arena);
    for_each_pixel(backend, "normalise", mean, normalised, Normalise<T, float>{mean, normalised, statistics_});
    backend.copy(as_rows(ltxmem::TensorView<const float, 4>(normalised)), as_rows(latent.reshape(latent_extents)));
  }

 private:
  static LinearWeights mean_weights(const AudioVaeConfig& config, const WeightScope& autoencoder) {
    LinearWeights weights = autoencoder.scope("encoder").convolution(
        "conv_out.conv", 2 * config.latent_channels, config.channels * config.multipliers.back(), {3, 3});
    weights.weight = weights.weight.row_slice(0, config.latent_channels);
    weights.bias = weights.bias.slice(0, config.latent_channels);
    return weights;
  }

  AudioVaeConfig config_;
  LatentStatistics statistics_;
  Convolution<T, Backend> input_;
  LayerStack<T, AudioResidual<T, Backend>, AudioDownsample<T, Backend>> layers_;
  Convolution<T, Backend> output_;
};

}  // namespace ltx2
