// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "audio/audio.hpp"
#include "audio/layers.hpp"
#include "audio/pieces.hpp"
#include "checkpoint/checkpoint.hpp"
#include "config/audio_config.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/latent_statistics.hpp"

namespace ltx2 {

/// The decoder of the audio autoencoder.
///
/// Computes  un-normalise; conv_in; mid blocks; for every level, coarsest first, residual blocks and (but for the last)
///           an upsampler; norm, SiLU, conv_out
/// Shapes    latent [Ta, bins / 4, z] normalised, mel [4 Ta - 3, bins, 2], both in host memory
/// Memory    about four times the activations of the finest level, plus the convolution's workspace: for one piece
///           of so many latent frames and its receptive field (33 frames in front, 1 behind), however many there are
/// Source    docs/ltx2/vae.md 6
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class AudioDecoder {
 public:
  /// autoencoder: its weights.
  AudioDecoder(const AudioVaeConfig& config, const WeightScope& autoencoder)
      : config_(config),
        statistics_(LatentStatistics::of(autoencoder, config.latent_channels, config.latent_bins())),
        input_(audio_convolution<T, Backend>(autoencoder.scope("decoder"), "conv_in",
                                             channels(config.multipliers.size() - 1), config.latent_channels)),
        output_(
            audio_convolution<T, Backend>(autoencoder.scope("decoder"), "conv_out", config.out_channels, channels(0))) {
    const WeightScope weights = autoencoder.scope("decoder");
    std::int64_t width = channels(config.multipliers.size() - 1);
    for (const char* name : {"mid.block_1", "mid.block_2"}) {
      layers_.push(AudioResidual<T, Backend>(weights.scope(name), width, width));
    }
    for (std::size_t level = config.multipliers.size(); level-- > 0;) {
      const WeightScope part = weights.scope("up." + std::to_string(level));
      for (std::int64_t i = 0; i <= config.residual_blocks; ++i) {
        layers_.push(AudioResidual<T, Backend>(part.scope("block." + std::to_string(i)), width, channels(level)));
        width = channels(level);
      }
      if (level > 0) layers_.push(AudioUpsample<T, Backend>(part, width));
    }
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 3> latent, ltxmem::TensorView<float, 3> mel,
                  std::int64_t piece_frames, ltxmem::Workspace& workspace) const {
    const std::int64_t frames = latent.extent(0);
    ltxmem::expects(
        frames >= 1 && latent.extent(1) == config_.latent_bins() && latent.extent(2) == config_.latent_channels,
        "audio decode: latent ", ltxmem::extents_text(latent.extents()), ", expected ", config_.latent_bins(),
        " bins of ", config_.latent_channels, " channels");
    const ltxmem::Extents<3> expected{mel_frames(config_, frames), config_.mel_bins, config_.out_channels};
    ltxmem::expects(mel.extents() == expected, "audio decode: mel ", ltxmem::extents_text(mel.extents()), ", expected ",
                    ltxmem::extents_text(expected));
    for_each_piece(backend, frames, mel.extent(0), config_.factor(), piece_frames, field(), [&](const Piece& piece) {
      run(backend, latent.rows(piece.input_begin, piece.inputs), piece.dropped,
          mel.rows(piece.output_begin, piece.outputs), workspace.device);
    });
  }

  /// In latent frames.
  ReceptiveField field() const { return input_.field(layers_.field(output_.field({}, time_axis)), time_axis); }

 private:
  std::int64_t channels(std::size_t level) const { return config_.channels * config_.multipliers.at(level); }

  /// mel = the spectrogram of latent after so many dropped frames.
  void run(Backend& backend, ltxmem::TensorView<const float, 3> latent, std::int64_t dropped,
           ltxmem::TensorView<float, 3> mel, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const ltxmem::Extents<4> latent_extents{1, latent.extent(0), latent.extent(1), latent.extent(2)};
    const ltxmem::Extents<4> first = input_.output_extents(latent_extents);
    const auto x = arena.take<T>("audio decoder activations", layers_.output_extents(first));
    const auto enter = [&](ltxmem::TensorView<T, 4> y) {
      const auto inner = arena.scope();
      const auto normalised = arena.take<float>("audio latent", latent_extents);
      const auto z = arena.take<T>("audio latent, un-normalised", latent_extents);
      backend.copy(as_rows(latent.reshape(latent_extents)), as_rows(normalised));
      for_each_pixel(backend, "un-normalise", normalised, z, Unnormalise<float, T>{normalised, z, statistics_});
      input_(backend, z, y, arena);
    };
    layers_(backend, "audio decoder layer", first, enter, x, arena);
    audio_norm_silu<T>(backend, x, x);
    const auto result = arena.take<T>("mel", output_.output_extents(x.extents()));
    output_(backend, x, result, arena);
    const ltxmem::Extents<2> rows{mel.extent(0), mel.extent(1) * mel.extent(2)};
    backend.copy(ltxmem::TensorView<const T, 2>(result[0].rows(dropped, rows[0]).reshape(rows)), mel.reshape(rows));
  }

  AudioVaeConfig config_;
  LatentStatistics statistics_;
  Convolution<T, Backend> input_;
  LayerStack<T, AudioResidual<T, Backend>, AudioUpsample<T, Backend>> layers_;
  Convolution<T, Backend> output_;
};

}  // namespace ltx2
