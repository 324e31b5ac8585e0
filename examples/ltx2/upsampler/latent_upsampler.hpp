// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/ops/group_norm.hpp"
#include "model/convolution.hpp"
#include "model/latent_statistics.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// y = 5x5 filter of every channel, keeping each stride-th position of height and width; zeros outside.
template <class T>
struct BlurDown {
  ltxmem::TensorView<const T, 4> x;
  ltxmem::TensorView<T, 4> y;
  ltxmem::WeightVector kernel;  ///< [25]
  std::int64_t stride;

  void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    for (std::int64_t c = 0; c < y.extent(3); ++c) {
      float sum = 0.0F;
      for (std::int64_t i = 0; i < 5; ++i) {
        const std::int64_t row = at.y * stride + i - 2;
        if (row < 0 || row >= x.extent(1)) continue;
        for (std::int64_t j = 0; j < 5; ++j) {
          const std::int64_t column = at.x * stride + j - 2;
          if (column < 0 || column >= x.extent(2)) continue;
          sum += kernel[i * 5 + j] * static_cast<float>(x(at.t, row, column, c));
        }
      }
      y(at.t, at.y, at.x, c) = T(sum);
    }
  }
};

/// A 3x3x3 convolution with zero padding, then a group norm.
template <ltxmem::Element T, class Backend>
class NormedConvolution {
 public:
  NormedConvolution(const WeightScope& weights, const std::string& convolution, const std::string& norm,
                    std::int64_t outputs, std::int64_t inputs)
      : convolution_(weights.convolution(convolution, outputs, inputs, {3, 3, 3}), geometry()),
        weight_(weights.vector(norm + ".weight", outputs)),
        bias_(weights.vector(norm + ".bias", outputs)) {}

  static ltxmem::ConvolutionGeometry geometry() {
    return {.kernel = {3, 3, 3}, .pad_before = {1, 1, 1}, .pad_after = {1, 1, 1}};
  }

  /// y = SiLU(norm(convolution(x)))
  void operator()(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    convolution_(backend, x, y, arena);
    normalise(backend, y, {}, y, arena);
  }

  /// y = SiLU(norm(convolution(x)) + y), hidden being scratch like y
  void add(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> hidden,
           ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    convolution_(backend, x, hidden, arena);
    normalise(backend, hidden, as_rows(y), y, arena);
  }

 private:
  void normalise(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<const T, 2> residual,
                 ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    ltxmem::group_norm(backend, as_rows(x),
                       ltxmem::GroupNormArguments<T>{
                           .groups = 32, .weight = weight_, .bias = bias_, .residual = residual, .silu = true},
                       as_rows(y), arena);
  }

  Convolution<T, Backend> convolution_;
  ltxmem::WeightVector weight_;
  ltxmem::WeightVector bias_;
};

/// The spatial latent upsampler: x2, or a rational factor by shuffling up and blurring down.
///
/// Computes  un-normalise; initial convolution; residual blocks; per frame a convolution, its channels to positions
/// and,
///           for rational factors, a blur; residual blocks; final convolution; normalise
/// Shapes    latent [F, h, w, C] and result [F, h num / den, w num / den, C], normalised
/// Memory    three times the activations at the higher resolution, plus the convolution's workspace
/// Numerics  activations in T; the group norms look at the whole clip
/// Source    docs/ltx2/vae.md 5
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class LatentUpsampler {
 public:
  /// statistics are those of the model whose latents these are.
  LatentUpsampler(const UpsamplerConfig& config, const Checkpoint& checkpoint, const LatentStatistics& statistics)
      : config_(config),
        statistics_(statistics),
        initial_(scope(checkpoint), "initial_conv", "initial_norm", config.mid_channels, config.in_channels),
        before_(blocks(checkpoint, "res_blocks")),
        raise_(scope(checkpoint)
                   .convolution(config.rational ? "upsampler.conv" : "upsampler.0",
                                config.numerator * config.numerator * config.mid_channels, config.mid_channels, {3, 3}),
               {.kernel = {1, 3, 3}, .pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}),
        after_(blocks(checkpoint, "post_upsample_res_blocks")),
        final_(scope(checkpoint).convolution("final_conv", config.in_channels, config.mid_channels, {3, 3, 3}),
               NormedConvolution<T, Backend>::geometry()) {
    if (config.denominator > 1) blur_ = flattened(scope(checkpoint).tensor("upsampler.blur_down.kernel", {1, 1, 5, 5}));
  }

  static ltxmem::Extents<4> output_extents(const UpsamplerConfig& config, const ltxmem::Extents<4>& latent) {
    return {latent[0], ltxmem::ceil_div(latent[1] * config.numerator, config.denominator),
            ltxmem::ceil_div(latent[2] * config.numerator, config.denominator), config.in_channels};
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> upsampled,
                  ltxmem::Workspace& workspace) const {
    check(latent.extents(), upsampled.extents());
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    // Results are taken before what they are made from: a stack-like arena then frees every tensor after its last use.
    const auto normalised = arena.take<float>("upsampled latent", upsampled.extents());
    const auto result = arena.take<T>("upsampled latent, un-normalised", upsampled.extents());
    const auto high = arena.take<T>("upsampler activations", with_channels(upsampled.extents()));
    {
      const auto low_scope = arena.scope();
      const auto low = arena.take<T>("upsampler activations before", with_channels(latent.extents()));
      run_initial(backend, latent, low, arena);
      run_blocks(backend, "upsampler block", before_, low, arena);
      run_raise(backend, low, high, arena);
    }
    run_blocks(backend, "upsampler block after", after_, high, arena);
    final_(backend, high, result, arena);
    for_each_pixel(backend, "normalise", result, normalised, Normalise<T, float>{result, normalised, statistics_});
    backend.copy(as_rows(ltxmem::TensorView<const float, 4>(normalised)), as_rows(upsampled));
  }

 private:
  struct Block {
    NormedConvolution<T, Backend> first;
    NormedConvolution<T, Backend> second;
  };

  static WeightScope scope(const Checkpoint& checkpoint) { return checkpoint.prefixed(""); }

  std::vector<Block> blocks(const Checkpoint& checkpoint, const std::string& name) const {
    std::vector<Block> result;
    const std::int64_t channels = config_.mid_channels;
    for (std::int64_t i = 0; i < config_.blocks_per_stage; ++i) {
      const WeightScope weights = scope(checkpoint).scope(name + "." + std::to_string(i));
      result.push_back(
          {{weights, "conv1", "norm1", channels, channels}, {weights, "conv2", "norm2", channels, channels}});
    }
    return result;
  }

  void check(const ltxmem::Extents<4>& latent, const ltxmem::Extents<4>& upsampled) const {
    ltxmem::expects(latent[0] >= 1 && latent[1] >= 1 && latent[2] >= 1 && latent[3] == config_.in_channels,
                    "upsample: latent ", ltxmem::extents_text(latent), ", expected ", config_.in_channels, " channels");
    const ltxmem::Extents<4> expected = output_extents(config_, latent);
    ltxmem::expects(upsampled == expected, "upsample: result ", ltxmem::extents_text(upsampled), ", expected ",
                    ltxmem::extents_text(expected));
  }

  ltxmem::Extents<4> with_channels(ltxmem::Extents<4> extents) const {
    extents[3] = config_.mid_channels;
    return extents;
  }

  void run_initial(Backend& backend, ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<T, 4> y,
                   ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto normalised = arena.take<float>("latent", latent.extents());
    const auto z = arena.take<T>("un-normalised latent", latent.extents());
    backend.copy(as_rows(latent), as_rows(normalised));
    for_each_pixel(backend, "un-normalise", normalised, z, Unnormalise<float, T>{normalised, z, statistics_});
    initial_(backend, z, y, arena);
  }

  /// x = SiLU(norm2(conv2(SiLU(norm1(conv1(x))))) + x) for every block.
  void run_blocks(Backend& backend, const char* name, const std::vector<Block>& blocks, ltxmem::TensorView<T, 4> x,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto inner = arena.take<T>("residual block, first half", x.extents());
    const auto hidden = arena.take<T>("residual block, second half", x.extents());
    ltxmem::repeat(backend, static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      const ltxmem::Step step(backend, name, i);
      const Block& block = blocks[static_cast<std::size_t>(i)];
      block.first(backend, x, inner, arena);
      block.second.add(backend, inner, hidden, x, arena);
    });
  }

  void run_raise(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                 ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t factor = config_.numerator;
    const auto deep = arena.take<T>("upsampling convolution", raise_.output_extents(x.extents()));
    raise_(backend, x, deep, arena);
    const auto shuffle = [&](ltxmem::TensorView<T, 4> to) {
      for_each_pixel(backend, "pixel shuffle", deep, to, DepthToSpace<T>{deep, {}, to, 1, factor, {0, 0, 0}});
    };
    if (config_.denominator == 1) {
      shuffle(y);
      return;
    }
    const auto fine = arena.take<T>(
        "upsampled before blur",
        ltxmem::Extents<4>{x.extent(0), x.extent(1) * factor, x.extent(2) * factor, config_.mid_channels});
    shuffle(fine);
    for_each_pixel(backend, "blur", fine, y, BlurDown<T>{fine, y, blur_, config_.denominator});
  }

  UpsamplerConfig config_;
  LatentStatistics statistics_;
  NormedConvolution<T, Backend> initial_;
  std::vector<Block> before_;
  Convolution<T, Backend> raise_;
  ltxmem::WeightVector blur_;
  std::vector<Block> after_;
  Convolution<T, Backend> final_;
};

}  // namespace ltx2
