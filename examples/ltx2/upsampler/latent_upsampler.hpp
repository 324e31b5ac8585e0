// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/convolution.hpp"
#include "model/latent_statistics.hpp"
#include "upsampler/normed_convolution.hpp"
#include "video_vae/layers.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// y = 5x5 filter of every channel, keeping each stride-th position of height and width; zeros outside.
template <class T>
struct BlurDown {
  ltxmem::TensorView<const T, 4> x;
  ltxmem::TensorView<T, 4> y;
  ltxmem::WeightVector kernel;  ///< [25]
  std::int64_t stride;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
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

/// The spatial latent upsampler: x2, or a rational factor by shuffling up and blurring down.
///
/// Computes  un-normalise; initial convolution; residual blocks; per frame a convolution, its channels to positions
///           and, for rational factors, a blur; residual blocks; final convolution; normalise
/// Shapes    latent [F, h, w, C] and result [F, h num / den, w num / den, C], normalised
/// Memory    pinned: twice the activations of the clip at the higher resolution, what a norm over the whole clip needs.
///           Device: a few frames, whatever the clip's length, see NormedConvolution
/// Numerics  activations in T; the group norms look at the whole clip; no bit depends on the turns
/// Source    docs/ltx2/vae.md 5
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class LatentUpsampler {
 public:
  /// statistics are those of the model whose latents these are; a number of frames passes the device at a time.
  LatentUpsampler(const UpsamplerConfig& config, const WeightScope& weights, const LatentStatistics& statistics,
                  std::int64_t turn)
      : config_(config),
        statistics_(statistics),
        turn_(turn),
        initial_(weights, "initial_conv", "initial_norm", config.mid_channels, config.in_channels),
        before_(blocks(weights, "res_blocks")),
        raise_(
            weights.convolution(config.rational ? "upsampler.conv" : "upsampler.0",
                                config.numerator * config.numerator * config.mid_channels, config.mid_channels, {3, 3}),
            {.kernel = {1, 3, 3}, .pad_before = {0, 1, 1}, .pad_after = {0, 1, 1}}),
        after_(blocks(weights, "post_upsample_res_blocks")),
        final_(weights.convolution("final_conv", config.in_channels, config.mid_channels, {3, 3, 3}),
               NormedConvolution<T, Backend>::padding()) {
    if (config.denominator > 1) blur_ = flattened(weights.tensor("upsampler.blur_down.kernel", {1, 1, 5, 5}));
  }

  static ltxmem::Extents<4> output_extents(const UpsamplerConfig& config, const ltxmem::Extents<4>& latent) {
    return {latent[0], ltxmem::ceil_div(latent[1] * config.numerator, config.denominator),
            ltxmem::ceil_div(latent[2] * config.numerator, config.denominator), config.in_channels};
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> upsampled,
                  ltxmem::Workspace& workspace) const {
    check(latent.extents(), upsampled.extents());
    const auto device_scope = workspace.device.scope();
    const auto pinned_scope = workspace.pinned.scope();
    const auto high = workspace.pinned.take<T>("upsampler activations", with_channels(upsampled.extents()));
    {
      const auto low_scope = workspace.pinned.scope();
      const auto low = workspace.pinned.take<T>("upsampler activations before", with_channels(latent.extents()));
      run_initial(backend, latent, low, workspace.device);
      run_blocks(backend, "upsampler block", before_, low, workspace);
      run_raise(backend, low, high, workspace.device);
    }
    run_blocks(backend, "upsampler block after", after_, high, workspace);
    run_final(backend, high, upsampled, workspace.device);
  }

 private:
  using Table = ltxmem::TensorView<float, 2>;

  struct Block {
    NormedConvolution<T, Backend> first;
    NormedConvolution<T, Backend> second;
  };

  std::vector<Block> blocks(const WeightScope& weights, const std::string& name) const {
    std::vector<Block> result;
    const std::int64_t channels = config_.mid_channels;
    for (std::int64_t i = 0; i < config_.blocks_per_stage; ++i) {
      const WeightScope block = weights.scope(name + "." + std::to_string(i));
      result.push_back({{block, "conv1", "norm1", channels, channels}, {block, "conv2", "norm2", channels, channels}});
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

  Table take_table(ltxmem::Arena& arena) const {
    return arena.take<float>("group norm channels", ltxmem::Extents<2>{3, config_.mid_channels});
  }
  /// Memory for a turn's frames of a clip.
  template <class U>
  ltxmem::TensorView<U, 4> take_turn(ltxmem::Arena& arena, const char* name, ltxmem::Extents<4> clip) const {
    clip[0] = std::min(turn_, clip[0]);
    return arena.take<U>(name, clip);
  }

  /// y = SiLU(norm(convolution(un-normalised latent)))
  void run_initial(Backend& backend, ltxmem::TensorView<const float, 4> latent, ClipView<T> y,
                   ltxmem::Arena& arena) const {
    const ltxmem::Step step(backend, "upsampler initial");
    const auto scope = arena.scope();
    const Table table = take_table(arena);
    const auto normalised = take_turn<float>(arena, "latent", latent.extents());
    const auto load = [&](std::int64_t begin, ltxmem::TensorView<T, 4> z) {
      const auto frames = normalised.rows(0, z.extent(0));
      backend.copy(as_rows(latent.rows(begin, z.extent(0))), as_rows(frames));
      for_each_pixel(backend, "un-normalise", frames, z, Unnormalise<float, T>{frames, z, statistics_});
    };
    initial_.convolve(backend, turn_, load, y, table, arena);
    finish(backend, initial_, table, {}, y, arena);
  }

  /// x = SiLU(norm2(conv2(SiLU(norm1(conv1(x))))) + x) for every block.
  void run_blocks(Backend& backend, const char* name, const std::vector<Block>& blocks, ClipView<T> x,
                  ltxmem::Workspace& workspace) const {
    const auto device_scope = workspace.device.scope();
    const auto pinned_scope = workspace.pinned.scope();
    ltxmem::Arena& arena = workspace.device;
    const auto hidden = workspace.pinned.take<T>("residual block", x.extents());
    const Table table = take_table(arena);
    const Table second_table = take_table(arena);
    ltxmem::repeat(backend, static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      const ltxmem::Step step(backend, name, i);
      const Block& block = blocks[static_cast<std::size_t>(i)];
      block.first.convolve(backend, turn_, loading(backend, x), hidden, table, arena);
      const auto load = [&](std::int64_t begin, ltxmem::TensorView<T, 4> frames) {
        loading(backend, hidden)(begin, frames);
        block.first.normalise(backend, table, {}, frames);
      };
      block.second.convolve(backend, turn_, load, hidden, second_table, arena);
      finish(backend, block.second, second_table, hidden, x, arena);
    });
  }

  /// Loads frames of a clip.
  static auto loading(Backend& backend, ClipView<T> clip) {
    return [&backend, clip](std::int64_t begin, ltxmem::TensorView<T, 4> frames) {
      move(backend, ltxmem::CopyQueue::in, clip.rows(begin, frames.extent(0)), frames);
    };
  }

  /// x = SiLU(norm(hidden) + x), or of x alone where there is nothing hidden.
  void finish(Backend& backend, const NormedConvolution<T, Backend>& layer, Table table, ClipView<T> hidden,
              ClipView<T> x, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto memory = take_turn<T>(arena, "frames", x.extents());
    const auto residual_memory = take_turn<T>(arena, "frames of the residual", hidden.extents());
    ltxmem::for_each_tile(backend, x.extent(0), turn_, [&](std::int64_t begin, std::int64_t count) {
      const auto frames = memory.rows(0, count);
      ltxmem::TensorView<T, 4> residual;
      loading(backend, hidden.empty() ? x : hidden)(begin, frames);
      if (!hidden.empty()) loading(backend, x)(begin, residual = residual_memory.rows(0, count));
      layer.normalise(backend, table, residual, frames);
      move(backend, ltxmem::CopyQueue::out, frames, x.rows(begin, count));
    });
  }

  void run_raise(Backend& backend, ClipView<T> x, ClipView<T> y, ltxmem::Arena& arena) const {
    const ltxmem::Step step(backend, "upsampler raise");
    const auto scope = arena.scope();
    const std::int64_t factor = config_.numerator;
    const auto low_memory = take_turn<T>(arena, "frames", x.extents());
    const auto deep_memory = take_turn<T>(arena, "upsampling convolution", raise_.output_extents(x.extents()));
    const auto high_memory = take_turn<T>(arena, "upsampled frames", y.extents());
    ltxmem::TensorView<T, 4> fine_memory;
    if (config_.denominator > 1) {
      fine_memory = take_turn<T>(
          arena, "upsampled before blur",
          ltxmem::Extents<4>{x.extent(0), x.extent(1) * factor, x.extent(2) * factor, config_.mid_channels});
    }
    ltxmem::for_each_tile(backend, x.extent(0), turn_, [&](std::int64_t begin, std::int64_t count) {
      const auto low = low_memory.rows(0, count);
      const auto deep = deep_memory.rows(0, count);
      const auto high = high_memory.rows(0, count);
      loading(backend, x)(begin, low);
      raise_(backend, low, deep, arena);
      const auto shuffle = [&](ltxmem::TensorView<T, 4> to) {
        for_each_pixel(backend, "pixel shuffle", deep, to, DepthToSpace<T>{deep, {}, to, 1, factor, {0, 0, 0}});
      };
      if (config_.denominator == 1) {
        shuffle(high);
      } else {
        const auto fine = fine_memory.rows(0, count);
        shuffle(fine);
        for_each_pixel(backend, "blur", fine, high, BlurDown<T>{fine, high, blur_, config_.denominator});
      }
      move(backend, ltxmem::CopyQueue::out, high, y.rows(begin, count));
    });
  }

  void run_final(Backend& backend, ClipView<T> x, ltxmem::TensorView<float, 4> upsampled, ltxmem::Arena& arena) const {
    const ltxmem::Step step(backend, "upsampler final");
    const auto scope = arena.scope();
    const auto memory = take_turn<float>(arena, "upsampled latent", upsampled.extents());
    stream_convolution(
        backend, final_, upsampled.extents(), turn_, loading(backend, x),
        [&](std::int64_t begin, ltxmem::TensorView<T, 4> result) {
          const auto normalised = memory.rows(0, result.extent(0));
          for_each_pixel(backend, "normalise", result, normalised,
                         Normalise<T, float>{result, normalised, statistics_});
          backend.copy(as_rows(ltxmem::TensorView<const float, 4>(normalised)),
                       as_rows(upsampled.rows(begin, result.extent(0))));
        },
        arena);
  }

  UpsamplerConfig config_;
  LatentStatistics statistics_;
  std::int64_t turn_;
  NormedConvolution<T, Backend> initial_;
  std::vector<Block> before_;
  Convolution<T, Backend> raise_;
  ltxmem::WeightVector blur_;
  std::vector<Block> after_;
  VideoConvolution<T, Backend> final_;
};

}  // namespace ltx2
