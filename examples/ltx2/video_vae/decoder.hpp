// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/latent_statistics.hpp"
#include "video_vae/layer_pipeline.hpp"
#include "video_vae/layers.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// Raises the resolution of the decoder: convolution, then channels to positions; in 2.0 plus the input moved likewise.
template <ltxmem::Element T, class Backend>
class VideoUpsample {
 public:
  VideoUpsample(const WeightScope& weights, const VaeBlock& block, const VideoPadding& padding)
      : block_(block), convolution_(weights, "conv", block.out_channels * block.volume(), block.in_channels, padding) {}

  struct Stream {
    typename VideoConvolution<T, Backend>::Stream convolution;
    Tile output;

    const FrameStream<T>& input() const { return convolution.input; }
    bool in_place() const noexcept { return false; }
    std::int64_t working_elements() const noexcept { return 0; }
  };
  Stream open(ltxmem::Arena& carried, const Tile& output, const TurnShape& turns) const {
    return {convolution_.open(carried, output.coarser(block_.space), turns.coarser(block_.time)), output};
  }

  Turn operator()(Backend& backend, Stream& stream, ltxmem::TensorView<T, 4> window, const Turn& in,
                  ltxmem::TensorView<T, 1>, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    FrameStream<T>& input = stream.convolution.input;
    const Tile& coarse = stream.convolution.output;
    const auto deep =
        arena.take<T>("upsampling convolution", coarse.extents(input.turns().most(), convolution_.outputs()));
    const auto x = input.gather(backend, window, in);
    const Turn out = convolution_(backend, stream.convolution, x, in, {}, deep, arena);
    const bool begins = input.emitted() == 0;
    const std::int64_t aligned = input.emitted() - input.begin();
    Turn fine{0, out.last};
    if (out.frames > 0) {
      const ltxmem::Extents<3> origin{begins ? block_.time - 1 : 0,
                                      stream.output.rows.begin - coarse.rows.begin * block_.space,
                                      stream.output.columns.begin - coarse.columns.begin * block_.space};
      fine.frames = block_.time * out.frames - origin[0];
      const ltxmem::TensorView<const T, 4> moved = deep.rows(0, out.frames);
      ltxmem::TensorView<const T, 4> skip;
      if (block_.skip) skip = cropped(x.rows(aligned, out.frames), input.tile(), coarse);
      const auto to = y.rows(0, fine.frames);
      for_each_pixel(backend, "depth to space", moved, to,
                     DepthToSpace<T>{moved, skip, to, block_.time, block_.space, origin});
    }
    input.advance(backend, x, in, out);
    return fine;
  }

 private:
  VaeBlock block_;
  VideoConvolution<T, Backend> convolution_;
};

/// The decoder of the video autoencoder, 2.0 and 2.3.
///
/// Computes  un-normalise; conv_in; up_blocks (residual stacks and upsamplers); pixel norm, SiLU, conv_out;
///           unpatchify; (v + 1) / 2 clamped to [0, 1]
/// Shapes    latent [F, h, w, C] normalised, frames [8 (F - 1) + 1, 32 h, 32 w, 3]
/// Memory    the latent passes through a few frames at a time: three times the last residual stack's activations of one
///           turn, four frames per residual block that are carried over, and the convolution's workspace
///           In tiles: all of that for the largest tile with the margin that each of its layers still reads; what is
///           carried over for all tiles is in host memory
/// Numerics  activations in T; every output depends on a bounded range of the latent only (nothing global), and no bit
///           depends on turns or tiles
/// Source    docs/ltx2/vae.md 3
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class VideoDecoder {
 public:
  /// weights: of the autoencoder.
  VideoDecoder(const VideoVaeConfig& config, const WeightScope& weights)
      : config_(config),
        statistics_(LatentStatistics::of(weights, config.latent_channels)),
        input_(weights.scope("decoder"), "conv_in", config.decoder_in(), config.latent_channels, padding(config)),
        output_(weights.scope("decoder"), "conv_out", config.patch_channels(), config.decoder_out(), padding(config)) {
    for (std::size_t i = 0; i < config.decoder_blocks.size(); ++i) {
      const VaeBlock& block = config.decoder_blocks[i];
      const WeightScope part = weights.scope("decoder.up_blocks." + std::to_string(i));
      if (block.kind == VaeBlock::Kind::residual) {
        blocks_.push(VideoResidualStack<T, Backend>(part, block, padding(config)));
      } else {
        blocks_.push(VideoUpsample<T, Backend>(part, block, padding(config)));
      }
    }
  }

  /// How the work is cut up; no bit depends on it.
  struct Cut {
    std::int64_t frames = 1;  ///< latent frames per turn
    std::int64_t cells = 0;   ///< rows and columns of latent cells per tile; 0: all
  };

  /// Calls emit(backend, frames) for all frames in order, as many at a time as a turn gives, in the workspace's host
  /// memory.
  template <class Emit>
  void operator()(Backend& backend, ltxmem::TensorView<const float, 4> latent, const Cut& cut,
                  ltxmem::Workspace& workspace, const Emit& emit) const {
    check(latent.extents());
    const auto device_scope = workspace.device.scope();
    const auto host_scope = workspace.host.scope();
    const std::int64_t count = latent.extent(0);
    const TurnShape turns{cut.frames, count};
    const TurnShape finest = turns.finer(config_.temporal_factor());
    const auto frames = workspace.host.take<float>("decoded frames", frame_extents(latent.extents(), finest.most()));
    const Tile whole = Tile::whole(latent.extent(1), latent.extent(2));
    const std::vector<Tile> tiles = tiles_of(whole, cut.cells);
    // A dry run decodes one tile of each kind.
    const std::int64_t apart = std::max(whole.rows.extent, whole.columns.extent);
    const std::vector<EqualTiles> kinds = equal_tiles(tiles, backend.collapses_loops() ? margin() : apart);
    // What is carried over waits where there is room for that of every tile.
    std::size_t carried_bytes = 0;
    for (const EqualTiles& kind : kinds) {
      carried_bytes += static_cast<std::size_t>(kind.count) * bytes_carried(kind.first, turns);
    }
    ltxmem::Arena& place = tiles.size() > 1 ? workspace.host : workspace.device;
    ltxmem::Arena carried(place.take_bytes("frames carried over", carried_bytes), carried_bytes);
    std::vector<Stream> streams;
    for (const EqualTiles& kind : kinds) streams.push_back(open(carried, kind.first, turns));
    stream_clip(backend, count, cut.frames, finest.cap, [&](std::int64_t begin, std::int64_t size, bool last) {
      Turn out;
      for (std::size_t i = 0; i < kinds.size(); ++i) {
        backend.begin_repeated(kinds[i].count);
        out = decode(backend, streams[i], latent.rows(begin, size), last, frames, workspace.device);
        backend.end_repeated();
      }
      if (out.frames > 0) emit(backend, ltxmem::TensorView<const float, 4>(frames.rows(0, out.frames)));
      return out;
    });
  }

 private:
  static VideoPadding padding(const VideoVaeConfig& config) { return {config.causal_decoder, config.decoder_padding}; }

  using Layers = LayerPipeline<T, VideoResidualStack<T, Backend>, VideoUpsample<T, Backend>>;

  using Stream = ClipStream<T, Backend, Layers>;

  /// The way that gives a tile of the frames.
  Stream open(ltxmem::Arena& carried, const Tile& cells, const TurnShape& turns) const {
    const std::int64_t patches = config_.spatial_factor() / config_.patch_size;
    auto output = output_.open(carried, cells.finer(patches), turns.finer(config_.temporal_factor()));
    auto blocks = blocks_.open(carried, output.input.tile(), output.input.turns());
    auto input = input_.open(carried, blocks.input().tile(), turns);
    return {std::move(output), std::move(blocks), std::move(input)};
  }

  /// What a tile's way carries over.
  std::size_t bytes_carried(const Tile& cells, const TurnShape& turns) const {
    ltxmem::Arena sizes = ltxmem::Arena::make_virtual();
    open(sizes, cells, turns);
    return sizes.used_bytes();
  }

  /// Latent cells to either side of a tile that its layers read, where the frame does not end before.
  std::int64_t margin() const {
    constexpr std::int64_t far = 1 << 20;
    constexpr Span middle{far, far + 1, 2 * far};
    ltxmem::Arena nowhere = ltxmem::Arena::make_virtual();
    return far - open(nowhere, {middle, middle}, {1, 1}).input.input.tile().rows.begin;
  }

  void check(const ltxmem::Extents<4>& latent) const {
    ltxmem::expects(latent[0] >= 1 && latent[1] >= 1 && latent[2] >= 1 && latent[3] == config_.latent_channels,
                    "video decode: latent ", ltxmem::extents_text(latent), ", expected ", config_.latent_channels,
                    " channels");
  }

  ltxmem::Extents<4> frame_extents(const ltxmem::Extents<4>& latent, std::int64_t frames) const {
    return {frames, config_.spatial_factor() * latent[1], config_.spatial_factor() * latent[2], 3};
  }

  /// One turn: the next frames of the latent in, those frames out that can be computed by now.
  Turn decode(Backend& backend, Stream& stream, ltxmem::TensorView<const float, 4> latent, bool last,
              ltxmem::TensorView<float, 4> frames, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    FrameStream<T>& output = stream.output.input;
    const auto memory = stream.take_activations("decoder activations", arena);
    const auto activations = dense_in(memory, output.window_extents());
    const auto enter = [&](ltxmem::TensorView<T, 4> y) { return run_input(backend, stream, latent, last, y, arena); };
    const Turn in = blocks_(backend, "decoder block", stream.blocks, enter, memory, output.fresh(activations), arena);
    if (in.frames == 0 && !in.last) return {};
    if (in.frames > 0) {
      const auto fresh = output.fresh(activations).rows(0, in.frames);
      pixel_norm_silu<T>(backend, fresh, fresh);
    }
    const auto x = output.gather(backend, activations, in);
    const auto patches =
        arena.take<T>("decoder patches", stream.output.output.extents(output.turns().most(), output_.outputs()));
    const Tile tile = stream.output.output.finer(config_.patch_size);
    const auto pixels = arena.take<float>("decoded pixels", tile.extents(1, frames.extent(3)));
    const auto runs = pixels.reshape(
        ltxmem::Extents<4>{1, pixels.extent(1), patches.extent(2), config_.patch_size * pixels.extent(3)});
    const Turn out = output_(backend, stream.output, x, in, {}, patches, arena);
    output.advance(backend, x, in, out);
    for (std::int64_t t = 0; t < out.frames; ++t) {
      const ltxmem::TensorView<const T, 4> from = patches.rows(t, 1);
      for_each_pixel(backend, "unpatchify", from, runs, Unpatchify<T>{from, runs, config_.patch_size});
      const auto place = cropped(frames.rows(t, 1), Tile::whole(frames.extent(1), frames.extent(2)), tile);
      copy_frames<Backend, float>(backend, pixels, place);
    }
    return out;
  }

  Turn run_input(Backend& backend, Stream& stream, ltxmem::TensorView<const float, 4> latent, bool last,
                 ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    FrameStream<T>& input = stream.input.input;
    const Turn in{latent.extent(0), last};
    const auto window = arena.take<T>("un-normalised latent", input.window_extents());
    const auto all = arena.take<float>("latent", input.tile().extents(input.turns().most(), latent.extent(3)));
    if (in.frames > 0) {
      const auto normalised = all.rows(0, in.frames);
      const auto z = input.fresh(window).rows(0, in.frames);
      const Tile whole = Tile::whole(latent.extent(1), latent.extent(2));
      copy_frames<Backend, float>(backend, cropped(latent, whole, input.tile()), normalised);
      for_each_pixel(backend, "un-normalise", normalised, z, Unnormalise<float, T>{normalised, z, statistics_});
    }
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
