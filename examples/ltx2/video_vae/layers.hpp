// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "video_vae/frame_stream.hpp"

/// The layers that the video encoder and decoder share. Activations are [T, H, W, C].
/// Source    docs/ltx2/vae.md 1

namespace ltx2 {

/// How the 3x3x3 convolutions of a model pad: time by repeating frames, or by zeros, and space by a mode.
struct VideoPadding {
  bool causal = true;  ///< the first frame twice in front; else once in front and the last once behind
  SpatialPadding space = SpatialPadding::zeros;
  ltxmem::Padding time = ltxmem::Padding::replicate;
};

/// A 3x3x3 convolution of a clip that comes a few frames at a time, and of one tile of it.
///
/// Shapes    x [T, H, W, in], y [T + extra frames, H, W, out], channels-last
/// Memory    a stream keeps two frames of its input; the backend's convolution_workspace_bytes, while it runs
template <ltxmem::Element T, ltxmem::HasConvolution<T> Backend>
class VideoConvolution {
 public:
  /// extra_frames more copies of the first frame in front.
  VideoConvolution(const LinearWeights& weights, const VideoPadding& padding, std::int64_t extra_frames = 0)
      : weight_(weights.weight),
        bias_(weights.bias),
        time_(padding.time),
        space_(padding.space == SpatialPadding::zeros ? ltxmem::Padding::zeros : ltxmem::Padding::reflect),
        before_((padding.causal ? 2 : 1) + extra_frames),
        after_(padding.causal ? 0 : 1) {}
  /// The convolution `<name>.conv` of a scope.
  VideoConvolution(const WeightScope& weights, const std::string& name, std::int64_t outputs, std::int64_t inputs,
                   const VideoPadding& padding, std::int64_t extra_frames = 0)
      : VideoConvolution(weights.convolution(name + ".conv", outputs, inputs, {3, 3, 3}), padding, extra_frames) {}

  std::int64_t outputs() const noexcept { return weight_.rows; }

  /// A clip's way through, giving a tile of every frame.
  struct Stream {
    FrameStream<T> input;
    Tile output;
  };
  Stream open(ltxmem::Arena& carried, const Tile& output, const TurnShape& turns) const {
    return {{carried, output.widened(), weight_.columns / 27, turns, before_}, output};
  }

  /// One turn: y = convolution(x) (+ residual), as many frames as x, the frames that the stream sees, allows for.
  /// y and residual may have more frames than that. The caller advances the stream.
  Turn operator()(Backend& backend, const Stream& stream, ltxmem::TensorView<const T, 4> x, const Turn& in,
                  ltxmem::TensorView<const T, 4> residual, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    const auto output = stream.input.output(in, after_, y.extent(0));
    if (output.frames > 0) {
      const Tile& from = stream.input.tile();
      const Tile& to = stream.output;
      const ltxmem::ConvolutionGeometry geometry{
          .kernel = {3, 3, 3},
          .pad_before = {output.front, 1 - (to.rows.begin - from.rows.begin),
                         1 - (to.columns.begin - from.columns.begin)},
          .pad_after = {output.behind, 1 - (from.rows.end - to.rows.end), 1 - (from.columns.end - to.columns.end)},
          .padding = {time_, space_, space_}};
      if (!residual.empty()) residual = residual.rows(0, output.frames);
      backend.convolve(
          x,
          ltxmem::ConvolutionArguments<T>{.weight = weight_, .bias = bias_, .geometry = geometry, .residual = residual},
          y.rows(0, output.frames), arena);
    }
    return {output.frames, output.last};
  }

 private:
  ltxmem::WeightMatrix weight_;
  ltxmem::WeightVector bias_;
  ltxmem::Padding time_;
  ltxmem::Padding space_;
  std::int64_t before_;
  std::int64_t after_;
};

/// y = SiLU(x / sqrt(mean over channels(x^2) + 1e-8)); y may be x.
template <ltxmem::Element T, class Backend>
void pixel_norm_silu(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y) {
  backend.norm(
      as_rows(x),
      ltxmem::NormArguments<T>{.kind = ltxmem::NormKind::rms, .eps = 1e-8F, .activation = ltxmem::Activation::silu},
      as_rows(y));
}

/// Memory of a number of elements as a dense tensor of no more.
template <class T>
ltxmem::TensorView<T, 4> dense_in(ltxmem::TensorView<T, 1> memory, const ltxmem::Extents<4>& extents) {
  return {memory.rows(0, ltxmem::element_count(extents)).data(), extents};
}

/// A stack of residual blocks: x += conv2(SiLU(norm(conv1(SiLU(norm(x)))))).
///
/// Memory    three tensors of a turn's frames, one of them that of the result; per block a stream keeps four frames
template <ltxmem::Element T, class Backend>
class VideoResidualStack {
 public:
  VideoResidualStack(const WeightScope& weights, const VaeBlock& block, const VideoPadding& padding) {
    const std::int64_t channels = block.in_channels;
    for (std::int64_t i = 0; i < block.layers; ++i) {
      const WeightScope scope = weights.scope("res_blocks." + std::to_string(i));
      layers_.push_back({{scope, "conv1", channels, channels, padding}, {scope, "conv2", channels, channels, padding}});
    }
  }

  struct Stream {
    struct Block {
      typename VideoConvolution<T, Backend>::Stream first;
      typename VideoConvolution<T, Backend>::Stream second;
    };
    std::vector<Block> blocks;

    const FrameStream<T>& input() const { return blocks.front().first.input; }
    bool in_place() const noexcept { return true; }
    std::int64_t working_elements() const { return ltxmem::element_count(input().window_extents()); }
  };
  Stream open(ltxmem::Arena& carried, Tile output, const TurnShape& turns) const {
    Stream stream;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      auto second = layers_[i].second.open(carried, output, turns);
      auto first = layers_[i].first.open(carried, second.input.tile(), turns);
      output = first.input.tile();
      stream.blocks.insert(stream.blocks.begin(), {std::move(first), std::move(second)});
    }
    return stream;
  }

  /// Block by block the frames move from one tensor to another and back. Every turn sees every block: how far the clip
  /// has come differs from one to the next.
  Turn operator()(Backend& backend, Stream& stream, ltxmem::TensorView<T, 4>, Turn turn,
                  ltxmem::TensorView<T, 1> memory, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const ltxmem::Extents<1> elements{stream.working_elements()};
    const auto hidden = arena.take<T>("residual block, second half", elements);
    auto here = memory;
    auto there = arena.take<T>("residual block, first half", elements);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const auto x = dense_in(here, stream.blocks[i].first.input.window_extents());
      const auto to = [&] {
        if (i + 1 == layers_.size()) return there.data() == memory.data() ? y : dense_in(there, y.extents());
        const FrameStream<T>& next = stream.blocks[i + 1].first.input;
        return next.fresh(dense_in(there, next.window_extents()));
      }();
      turn = run(backend, layers_[i], stream.blocks[i], x, turn, there, hidden, to, arena);
      std::swap(here, there);
    }
    if (here.data() != memory.data() && turn.frames > 0) {
      const auto result = dense_in(here, y.extents()).rows(0, turn.frames);
      backend.copy(as_rows(ltxmem::TensorView<const T, 4>(result)), as_rows(y.rows(0, turn.frames)));
    }
    return turn;
  }

 private:
  struct Layer {
    VideoConvolution<T, Backend> first;
    VideoConvolution<T, Backend> second;
  };

  /// y, which lies in scratch, = one block of x.
  Turn run(Backend& backend, const Layer& layer, typename Stream::Block& stream, ltxmem::TensorView<T, 4> window,
           const Turn& in, ltxmem::TensorView<T, 1> scratch, ltxmem::TensorView<T, 1> hidden_memory,
           ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    FrameStream<T>& first = stream.first.input;
    FrameStream<T>& second = stream.second.input;
    const auto x = first.gather(backend, window, in);
    if (x.empty()) return {};
    const auto normed = dense_in(scratch, x.extents());
    pixel_norm_silu<T>(backend, x, normed);
    const auto hidden = dense_in(hidden_memory, second.window_extents());
    const Turn half = layer.first(backend, stream.first, normed, in, {}, second.fresh(hidden), arena);
    if (half.frames > 0) {
      const auto fresh = second.fresh(hidden).rows(0, half.frames);
      pixel_norm_silu<T>(backend, fresh, fresh);
    }

    // The second convolution gives the frames that x holds from here on.
    const std::int64_t aligned = second.emitted() - first.begin();
    const auto residual = cropped(x.rows(aligned, x.extent(0) - aligned), first.tile(), stream.second.output);
    const auto seen = second.gather(backend, hidden, half);
    const Turn out = layer.second(backend, stream.second, seen, half, residual, y, arena);
    first.advance(backend, x, in, half);
    second.advance(backend, seen, half, out);
    return out;
  }

  std::vector<Layer> layers_;
};

}  // namespace ltx2
