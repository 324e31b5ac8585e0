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

/// Lowers the resolution of the encoder: convolution, then positions to channels, plus the input moved likewise with
/// groups of channels averaged.
template <ltxmem::Element T, class Backend>
class VideoDownsample {
 public:
  VideoDownsample(const WeightScope& weights, const VaeBlock& block, const VideoPadding& padding)
      : block_(block),
        convolution_(video_convolution<T, Backend>(weights, "conv", block.out_channels / block.volume(),
                                                   block.in_channels, padding.geometry(extra_frames()))) {}

  bool in_place() const noexcept { return false; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const {
    const ltxmem::Extents<3> fine{input[0] + extra_frames(), input[1], input[2]};
    ltxmem::expects(fine[0] % block_.time == 0 && fine[1] % block_.space == 0 && fine[2] % block_.space == 0,
                    "video encode: ", ltxmem::extents_text(fine), " positions do not divide by ", block_.time, " x ",
                    block_.space, " x ", block_.space);
    return {fine[0] / block_.time, fine[1] / block_.space, fine[2] / block_.space, block_.out_channels};
  }

  void operator()(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto fine = arena.take<T>("downsampling convolution", convolution_.output_extents(x.extents()));
    convolution_(backend, x, fine, arena);
    for_each_pixel(backend, "space to depth", fine, y, SpaceToDepthSum<T>{fine, x, y, block_.time, block_.space});
  }

 private:
  /// Halving time, the clip starts with a second copy of its first frame, so that the first latent frame stands for
  /// one frame alone. To the convolution that copy is one more frame of padding.
  std::int64_t extra_frames() const noexcept { return block_.time - 1; }

  VaeBlock block_;
  Convolution<T, Backend> convolution_;
};

/// The encoder of the video autoencoder, 2.0 and 2.3.
///
/// Computes  patchify; conv_in; down_blocks (residual stacks and downsamplers); pixel norm, SiLU, the mean channels of
///           conv_out (the shared log variance is not computed); normalise
/// Shapes    video [1 + 8 k, H, W, 3] in [-1, 1], latent [1 + k, H / 32, W / 32, C]
/// Memory    three times the first residual stack's activations, plus the convolution's workspace
/// Numerics  activations in T; causal in time
/// Source    docs/ltx2/vae.md 2
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class VideoEncoder {
 public:
  VideoEncoder(const VideoVaeConfig& config, const Checkpoint& checkpoint)
      : config_(config),
        statistics_(LatentStatistics::of_video(checkpoint, config.latent_channels)),
        input_(video_convolution<T, Backend>(scope(checkpoint), "conv_in", config.encoder_in(), config.patch_channels(),
                                             padding(config).geometry())),
        output_(mean_weights(config, checkpoint), padding(config).geometry()) {
    for (std::size_t i = 0; i < config.encoder_blocks.size(); ++i) {
      const VaeBlock& block = config.encoder_blocks[i];
      const WeightScope weights = scope(checkpoint).scope("down_blocks." + std::to_string(i));
      if (block.kind == VaeBlock::Kind::residual) {
        blocks_.push(VideoResidualStack<T, Backend>(weights, block, padding(config)));
      } else {
        blocks_.push(VideoDownsample<T, Backend>(weights, block, padding(config)));
      }
    }
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 4> video, ltxmem::TensorView<float, 4> latent,
                  ltxmem::Workspace& workspace) const {
    check(video.extents(), latent.extents());
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    const auto normalised = arena.take<float>("latent", latent.extents());
    const auto mean = arena.take<T>("latent mean", latent.extents());
    const ltxmem::Extents<4> first = input_.output_extents(patch_extents(video.extents()));
    const auto x = arena.take<T>("encoder activations", blocks_.output_extents(first));
    const auto enter = [&](ltxmem::TensorView<T, 4> y) { run_input(backend, video, y, arena); };
    blocks_(backend, "encoder block", first, enter, x, arena);
    pixel_norm_silu<T>(backend, x, x);
    output_(backend, x, mean, arena);
    for_each_pixel(backend, "normalise", mean, normalised, Normalise<T, float>{mean, normalised, statistics_});
    backend.copy(as_rows(ltxmem::TensorView<const float, 4>(normalised)), as_rows(latent));
  }

 private:
  static WeightScope scope(const Checkpoint& checkpoint) { return checkpoint.prefixed("vae.encoder."); }
  static VideoPadding padding(const VideoVaeConfig& config) { return {true, config.encoder_padding}; }
  static LinearWeights mean_weights(const VideoVaeConfig& config, const Checkpoint& checkpoint) {
    LinearWeights weights =
        scope(checkpoint).convolution("conv_out.conv", config.latent_channels + 1, config.encoder_out(), {3, 3, 3});
    weights.weight = weights.weight.row_slice(0, config.latent_channels);
    weights.bias = weights.bias.slice(0, config.latent_channels);
    return weights;
  }

  void check(const ltxmem::Extents<4>& video, const ltxmem::Extents<4>& latent) const {
    const std::int64_t time = config_.temporal_factor();
    const std::int64_t space = config_.spatial_factor();
    ltxmem::expects(video[0] >= 1 && (video[0] - 1) % time == 0 && video[1] >= 1 && video[1] % space == 0 &&
                        video[2] >= 1 && video[2] % space == 0 && video[3] == 3,
                    "video encode: video ", ltxmem::extents_text(video), ", expected 1 + ", time, " k frames of ",
                    space, " m x ", space, " n x 3");
    const ltxmem::Extents<4> expected{(video[0] - 1) / time + 1, video[1] / space, video[2] / space,
                                      config_.latent_channels};
    ltxmem::expects(latent == expected, "video encode: latent ", ltxmem::extents_text(latent), ", expected ",
                    ltxmem::extents_text(expected));
  }

  ltxmem::Extents<4> patch_extents(const ltxmem::Extents<4>& video) const {
    return {video[0], video[1] / config_.patch_size, video[2] / config_.patch_size, config_.patch_channels()};
  }

  void run_input(Backend& backend, ltxmem::TensorView<const float, 4> video, ltxmem::TensorView<T, 4> y,
                 ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto pixels = arena.take<float>("pixels", video.extents());
    const auto patches = arena.take<T>("encoder patches", patch_extents(video.extents()));
    backend.copy(as_rows(video), as_rows(pixels));
    for_each_pixel(backend, "patchify", pixels, patches, Patchify<T>{pixels, patches, config_.patch_size});
    input_(backend, patches, y, arena);
  }

  VideoVaeConfig config_;
  LatentStatistics statistics_;
  Convolution<T, Backend> input_;
  LayerStack<T, VideoResidualStack<T, Backend>, VideoDownsample<T, Backend>> blocks_;
  Convolution<T, Backend> output_;
};

}  // namespace ltx2
