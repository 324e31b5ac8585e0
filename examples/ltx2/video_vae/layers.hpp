// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "model/convolution.hpp"

/// The layers that the video encoder and decoder share. Activations are [T, H, W, C].
/// Source    docs/ltx2/vae.md 1

namespace ltx2 {

/// How the 3x3x3 convolutions of one half of the autoencoder pad: time by repeating frames, space by a mode.
struct VideoPadding {
  bool causal = true;  ///< the first frame twice in front; else once in front and the last once behind
  SpatialPadding space = SpatialPadding::zeros;

  /// extra_frames more copies of the first frame in front.
  ltxmem::ConvolutionGeometry geometry(std::int64_t extra_frames = 0) const {
    const ltxmem::Padding mode = space == SpatialPadding::zeros ? ltxmem::Padding::zeros : ltxmem::Padding::reflect;
    return {.kernel = {3, 3, 3},
            .pad_before = {(causal ? 2 : 1) + extra_frames, 1, 1},
            .pad_after = {causal ? 0 : 1, 1, 1},
            .padding = {ltxmem::Padding::replicate, mode, mode}};
  }
};

/// The convolution `<name>.conv` of a scope.
template <ltxmem::Element T, class Backend>
Convolution<T, Backend> video_convolution(const WeightScope& weights, const std::string& name, std::int64_t outputs,
                                          std::int64_t inputs, const ltxmem::ConvolutionGeometry& geometry) {
  return {weights.convolution(name + ".conv", outputs, inputs, {3, 3, 3}), geometry};
}

/// y = SiLU(x / sqrt(mean over channels(x^2) + 1e-8)); y may be x.
template <ltxmem::Element T, class Backend>
void pixel_norm_silu(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y) {
  backend.norm(
      as_rows(x),
      ltxmem::NormArguments<T>{.kind = ltxmem::NormKind::rms, .eps = 1e-8F, .activation = ltxmem::Activation::silu},
      as_rows(y));
}

/// A stack of residual blocks, in place: x += conv2(SiLU(norm(conv1(SiLU(norm(x)))))).
///
/// Memory    two more tensors like x, and the convolution's workspace
template <ltxmem::Element T, class Backend>
class VideoResidualStack {
 public:
  VideoResidualStack(const WeightScope& weights, const VaeBlock& block, const VideoPadding& padding) {
    const std::int64_t channels = block.in_channels;
    for (std::int64_t i = 0; i < block.layers; ++i) {
      const WeightScope scope = weights.scope("res_blocks." + std::to_string(i));
      layers_.push_back({video_convolution<T, Backend>(scope, "conv1", channels, channels, padding.geometry()),
                         video_convolution<T, Backend>(scope, "conv2", channels, channels, padding.geometry())});
    }
  }

  bool in_place() const noexcept { return true; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const noexcept { return input; }

  void operator()(Backend& backend, ltxmem::TensorView<T, 4> x, ltxmem::TensorView<T, 4>, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto normed = arena.take<T>("residual block, first half", x.extents());
    const auto hidden = arena.take<T>("residual block, second half", x.extents());
    ltxmem::repeat(backend, static_cast<std::int64_t>(layers_.size()), [&](std::int64_t i) {
      const Layer& layer = layers_[static_cast<std::size_t>(i)];
      pixel_norm_silu<T>(backend, x, normed);
      layer.first(backend, normed, hidden, arena);
      pixel_norm_silu<T>(backend, hidden, hidden);
      layer.second.add(backend, hidden, x, arena);
    });
  }

 private:
  struct Layer {
    Convolution<T, Backend> first;
    Convolution<T, Backend> second;
  };
  std::vector<Layer> layers_;
};

}  // namespace ltx2
