// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/latent_statistics.hpp"
#include "video_vae/layer_pipeline.hpp"
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
        convolution_(weights, "conv", block.out_channels / block.volume(), block.in_channels, padding, extra_frames()) {
  }

  struct Stream {
    typename VideoConvolution<T, Backend>::Stream convolution;

    const FrameStream<T>& input() const { return convolution.input; }
    bool in_place() const noexcept { return false; }
    std::int64_t working_elements() const noexcept { return 0; }
  };
  Stream open(ltxmem::Arena& carried, const Tile& output, const TurnShape& turns) const {
    return {convolution_.open(carried, output.finer(block_.space), turns.finer(block_.time))};
  }

  Turn operator()(Backend& backend, Stream& stream, ltxmem::TensorView<T, 4> window, const Turn& in,
                  ltxmem::TensorView<T, 1>, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    FrameStream<T>& input = stream.convolution.input;
    const auto deep = arena.take<T>("downsampling convolution", stream.convolution.output.extents(
                                                                    block_.time * y.extent(0), convolution_.outputs()));
    const auto x = input.gather(backend, window, in);
    const std::int64_t extra = input.emitted() == 0 ? extra_frames() : 0;
    const ltxmem::TensorView<const T, 4> skip = input.fresh(window).rows(0, in.frames);
    const Turn fine = convolution_(backend, stream.convolution, x, in, {}, deep, arena);
    const Turn out{fine.frames / block_.time, fine.last};
    if (out.frames > 0) {
      const ltxmem::TensorView<const T, 4> moved = deep.rows(0, fine.frames);
      const auto to = y.rows(0, out.frames);
      for_each_pixel(backend, "space to depth", moved, to,
                     SpaceToDepthSum<T>{moved, skip, to, block_.time, block_.space, extra});
    }
    input.advance(backend, x, in, fine);
    return out;
  }

 private:
  /// Halving time, the clip starts with a second copy of its first frame, so that the first latent frame stands for
  /// one frame alone. To the convolution that copy is one more frame of padding.
  std::int64_t extra_frames() const noexcept { return block_.time - 1; }

  VaeBlock block_;
  VideoConvolution<T, Backend> convolution_;
};

/// The encoder of the video autoencoder, 2.0 and 2.3.
///
/// Computes  patchify; conv_in; down_blocks (residual stacks and downsamplers); pixel norm, SiLU, the mean channels of
///           conv_out (the shared log variance is not computed); normalise
/// Shapes    video [1 + 8 k, H, W, 3] in [-1, 1], latent [1 + k, H / 32, W / 32, C]
/// Memory    the video passes through a few frames at a time: three times the first residual stack's activations of one
///           turn, four frames per residual block that are carried over, and the convolution's workspace
/// Numerics  activations in T; causal in time; no bit depends on the frames of a turn
/// Source    docs/ltx2/vae.md 2
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class VideoEncoder {
 public:
  /// weights: of the autoencoder.
  VideoEncoder(const VideoVaeConfig& config, const WeightScope& weights)
      : config_(config),
        statistics_(LatentStatistics::of(weights, config.latent_channels)),
        input_(weights.scope("encoder"), "conv_in", config.encoder_in(), config.patch_channels(), padding(config)),
        output_(mean_weights(config, weights), padding(config)) {
    for (std::size_t i = 0; i < config.encoder_blocks.size(); ++i) {
      const VaeBlock& block = config.encoder_blocks[i];
      const WeightScope part = weights.scope("encoder.down_blocks." + std::to_string(i));
      if (block.kind == VaeBlock::Kind::residual) {
        blocks_.push(VideoResidualStack<T, Backend>(part, block, padding(config)));
      } else {
        blocks_.push(VideoDownsample<T, Backend>(part, block, padding(config)));
      }
    }
  }

  /// latent_frames at a time: the first frame stands alone, the others go in groups of the temporal factor.
  void operator()(Backend& backend, ltxmem::TensorView<const float, 4> video, ltxmem::TensorView<float, 4> latent,
                  std::int64_t latent_frames, ltxmem::Workspace& workspace) const {
    check(video.extents(), latent.extents());
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    const std::int64_t factor = config_.temporal_factor();
    const TurnShape turns{latent_frames, latent.extent(0)};
    Stream stream = open(arena, Tile::whole(latent.extent(1), latent.extent(2)), turns);
    stream_clip(backend, latent.extent(0), latent_frames, latent_frames,
                [&](std::int64_t begin, std::int64_t count, bool last) {
                  const std::int64_t from = begin == 0 ? 0 : factor * (begin - 1) + 1;
                  const std::int64_t to = factor * (begin + count - 1) + 1;
                  encode(backend, stream, video.rows(from, to - from), last, latent.rows(begin, count), arena);
                  return Turn{count, last};
                });
  }

 private:
  static VideoPadding padding(const VideoVaeConfig& config) { return {true, config.encoder_padding}; }
  static LinearWeights mean_weights(const VideoVaeConfig& config, const WeightScope& weights) {
    LinearWeights mean = weights.scope("encoder").convolution("conv_out.conv", config.latent_channels + 1,
                                                              config.encoder_out(), {3, 3, 3});
    mean.weight = mean.weight.row_slice(0, config.latent_channels);
    mean.bias = mean.bias.slice(0, config.latent_channels);
    return mean;
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

  using Layers = LayerPipeline<T, VideoResidualStack<T, Backend>, VideoDownsample<T, Backend>>;

  using Stream = ClipStream<T, Backend, Layers>;

  Stream open(ltxmem::Arena& carried, const Tile& cells, const TurnShape& turns) const {
    auto output = output_.open(carried, cells, turns);
    auto blocks = blocks_.open(carried, output.input.tile(), turns);
    auto input = input_.open(carried, blocks.input().tile(), blocks.input().turns());
    return {std::move(output), std::move(blocks), std::move(input)};
  }

  /// One turn. Nothing looks ahead: it gives exactly the latent frames that end with the frames that came.
  void encode(Backend& backend, Stream& stream, ltxmem::TensorView<const float, 4> video, bool last,
              ltxmem::TensorView<float, 4> latent, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    FrameStream<T>& output = stream.output.input;
    const auto all = stream.output.output.extents(output.turns().most(), output_.outputs());
    const auto normalised = arena.take<float>("latent", all).rows(0, latent.extent(0));
    const auto mean = arena.take<T>("latent mean", all).rows(0, latent.extent(0));
    const auto memory = stream.take_activations("encoder activations", arena);
    const auto activations = dense_in(memory, output.window_extents());
    const auto enter = [&](ltxmem::TensorView<T, 4> y) { return run_input(backend, stream, video, last, y, arena); };
    const Turn in = blocks_(backend, "encoder block", stream.blocks, enter, memory, output.fresh(activations), arena);
    const auto fresh = output.fresh(activations).rows(0, in.frames);
    pixel_norm_silu<T>(backend, fresh, fresh);
    const auto x = output.gather(backend, activations, in);
    const Turn out = output_(backend, stream.output, x, in, {}, mean, arena);
    output.advance(backend, x, in, out);
    for_each_pixel(backend, "normalise", mean, normalised, Normalise<T, float>{mean, normalised, statistics_});
    backend.copy(as_rows(ltxmem::TensorView<const float, 4>(normalised)), as_rows(latent));
  }

  Turn run_input(Backend& backend, Stream& stream, ltxmem::TensorView<const float, 4> video, bool last,
                 ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    FrameStream<T>& input = stream.input.input;
    const Turn in{video.extent(0), last};
    const auto window = arena.take<T>("encoder patches", input.window_extents());
    const auto pixels = arena
                            .take<float>("pixels", ltxmem::Extents<4>{input.turns().most(), video.extent(1),
                                                                      video.extent(2), video.extent(3)})
                            .rows(0, in.frames);
    const auto patches = input.fresh(window).rows(0, in.frames);
    backend.copy(as_rows(video), as_rows(pixels));
    for_each_pixel(backend, "patchify", pixels, patches, Patchify<T>{pixels, patches, config_.patch_size});
    const auto x = input.gather(backend, window, in);
    const Turn out = input_(backend, stream.input, x, in, {}, y, arena);
    input.advance(backend, x, in, out);
    return out;
  }

  VideoVaeConfig config_;
  LatentStatistics statistics_;
  VideoConvolution<T, Backend> input_;
  Layers blocks_;
  VideoConvolution<T, Backend> output_;
};

}  // namespace ltx2
