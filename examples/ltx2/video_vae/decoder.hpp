// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/latent_statistics.hpp"
#include "model/layer_stack.hpp"
#include "video_vae/layers.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// Raises the resolution of the decoder: convolution, then channels to positions; in 2.0 plus the input moved likewise.
template <ltxmem::Element T, class Backend>
class VideoUpsample {
 public:
  VideoUpsample(const WeightScope& weights, const VaeBlock& block, const VideoPadding& padding)
      : block_(block),
        convolution_(video_convolution<T, Backend>(weights, "conv", block.out_channels * block.volume(),
                                                   block.in_channels, padding.geometry())) {}

  bool in_place() const noexcept { return false; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const {
    return {block_.time * input[0] - (block_.time - 1), block_.space * input[1], block_.space * input[2],
            block_.out_channels};
  }

  void operator()(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto deep = arena.take<T>("upsampling convolution", convolution_.output_extents(x.extents()));
    convolution_(backend, x, deep, arena);
    const auto skip = block_.skip ? x : ltxmem::TensorView<const T, 4>();
    for_each_pixel(backend, "depth to space", deep, y, DepthToSpace<T>{deep, skip, y, block_.time, block_.space});
  }

 private:
  VaeBlock block_;
  Convolution<T, Backend> convolution_;
};

/// The decoder of the video autoencoder, 2.0 and 2.3.
///
/// Computes  un-normalise; conv_in; up_blocks (residual stacks and upsamplers); pixel norm, SiLU, conv_out;
///           unpatchify; (v + 1) / 2 clamped to [0, 1]
/// Shapes    latent [F, h, w, C] normalised, frames [8 (F - 1) + 1, 32 h, 32 w, 3]
/// Memory    three times the last residual stack's activations, plus the convolution's workspace
/// Numerics  activations in T; every output depends on a bounded range of the latent only (nothing global)
/// Source    docs/ltx2/vae.md 3
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class VideoDecoder {
 public:
  VideoDecoder(const VideoVaeConfig& config, const Checkpoint& checkpoint)
      : config_(config),
        statistics_(LatentStatistics::of_video(checkpoint, config.latent_channels)),
        input_(video_convolution<T, Backend>(scope(checkpoint), "conv_in", config.decoder_in(), config.latent_channels,
                                             padding(config).geometry())),
        output_(video_convolution<T, Backend>(scope(checkpoint), "conv_out", config.patch_channels(),
                                              config.decoder_out(), padding(config).geometry())) {
    for (std::size_t i = 0; i < config.decoder_blocks.size(); ++i) {
      const VaeBlock& block = config.decoder_blocks[i];
      const WeightScope weights = scope(checkpoint).scope("up_blocks." + std::to_string(i));
      if (block.kind == VaeBlock::Kind::residual) {
        blocks_.push(VideoResidualStack<T, Backend>(weights, block, padding(config)));
      } else {
        blocks_.push(VideoUpsample<T, Backend>(weights, block, padding(config)));
      }
    }
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> frames,
                  ltxmem::Workspace& workspace) const {
    check(latent.extents(), frames.extents());
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    const ltxmem::Extents<4> first = input_.output_extents(latent.extents());
    const auto x = arena.take<T>("decoder activations", blocks_.output_extents(first));
    const auto enter = [&](ltxmem::TensorView<T, 4> y) { run_input(backend, latent, y, arena); };
    blocks_(backend, "decoder block", first, enter, x, arena);
    pixel_norm_silu<T>(backend, x, x);
    const auto patches = arena.take<T>("decoder patches", output_.output_extents(x.extents()));
    output_(backend, x, patches, arena);
    const auto pixels = arena.take<float>("decoded pixels", frames.extents());
    for_each_pixel(backend, "unpatchify", patches, pixels, Unpatchify<T>{patches, pixels, config_.patch_size});
    backend.copy(as_rows(ltxmem::TensorView<const float, 4>(pixels)), as_rows(frames));
  }

 private:
  static WeightScope scope(const Checkpoint& checkpoint) { return checkpoint.prefixed("vae.decoder."); }
  static VideoPadding padding(const VideoVaeConfig& config) { return {config.causal_decoder, config.decoder_padding}; }

  void check(const ltxmem::Extents<4>& latent, const ltxmem::Extents<4>& frames) const {
    const std::int64_t space = config_.spatial_factor();
    const ltxmem::Extents<4> expected{config_.temporal_factor() * (latent[0] - 1) + 1, space * latent[1],
                                      space * latent[2], 3};
    ltxmem::expects(latent[0] >= 1 && latent[1] >= 1 && latent[2] >= 1 && latent[3] == config_.latent_channels,
                    "video decode: latent ", ltxmem::extents_text(latent), ", expected ", config_.latent_channels,
                    " channels");
    ltxmem::expects(frames == expected, "video decode: frames ", ltxmem::extents_text(frames), ", expected ",
                    ltxmem::extents_text(expected));
  }

  void run_input(Backend& backend, ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<T, 4> y,
                 ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto normalised = arena.take<float>("latent", latent.extents());
    const auto z = arena.take<T>("un-normalised latent", latent.extents());
    backend.copy(as_rows(latent), as_rows(normalised));
    for_each_pixel(backend, "un-normalise", normalised, z, Unnormalise<float, T>{normalised, z, statistics_});
    input_(backend, z, y, arena);
  }

  VideoVaeConfig config_;
  LatentStatistics statistics_;
  Convolution<T, Backend> input_;
  LayerStack<T, VideoResidualStack<T, Backend>, VideoUpsample<T, Backend>> blocks_;
  Convolution<T, Backend> output_;
};

}  // namespace ltx2
