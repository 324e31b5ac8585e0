// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/dtype.hpp"
#include "model/convolution.hpp"

/// The video models evaluated plainly: whole tensors, loops from the formulas, double precision. With rounding on, the
/// weights and the result of every step are rounded to bf16, as a plain bf16 program would.

namespace ltx2::test {

/// [T, H, W, C]
struct PlainVolume {
  ltxmem::Extents<4> extents{};
  std::vector<double> values;

  PlainVolume() = default;
  explicit PlainVolume(const ltxmem::Extents<4>& e)
      : extents(e), values(static_cast<std::size_t>(ltxmem::element_count(e))) {}
  PlainVolume(const ltxmem::Extents<4>& e, const std::vector<float>& v) : extents(e), values(v.begin(), v.end()) {}

  double& at(std::int64_t t, std::int64_t y, std::int64_t x, std::int64_t c) {
    return values[static_cast<std::size_t>(((t * extents[1] + y) * extents[2] + x) * extents[3] + c)];
  }
  double at(std::int64_t t, std::int64_t y, std::int64_t x, std::int64_t c) const {
    return const_cast<PlainVolume*>(this)->at(t, y, x, c);
  }
};

template <class Fn>
void each_element(const ltxmem::Extents<4>& extents, Fn fn) {
  for (std::int64_t t = 0; t < extents[0]; ++t) {
    for (std::int64_t y = 0; y < extents[1]; ++y) {
      for (std::int64_t x = 0; x < extents[2]; ++x) {
        for (std::int64_t c = 0; c < extents[3]; ++c) fn(t, y, x, c);
      }
    }
  }
}

class PlainVideo {
 public:
  PlainVideo(const Checkpoint& checkpoint, bool bf16) : checkpoint_(checkpoint), bf16_(bf16) {}

  /// Frames of a normalised latent.
  PlainVolume decode(const PlainVolume& latent) const {
    const VideoVaeConfig& config = *checkpoint_.config().video_vae;
    const WeightScope weights = checkpoint_.prefixed("vae.decoder.");
    const Pad pad{config.causal_decoder ? 2 : 1, config.causal_decoder ? 0 : 1, true,
                  config.decoder_padding == SpatialPadding::reflect};
    PlainVolume x = conv3(statistics(latent, true), weights, "conv_in", config.decoder_in(), pad);
    for (std::size_t i = 0; i < config.decoder_blocks.size(); ++i) {
      const VaeBlock& block = config.decoder_blocks[i];
      const WeightScope scope = weights.scope("up_blocks." + std::to_string(i));
      if (block.kind == VaeBlock::Kind::residual) {
        for (std::int64_t j = 0; j < block.layers; ++j) x = residual(x, scope, j, pad);
        continue;
      }
      PlainVolume y = moved_up(conv3(x, scope, "conv", block.out_channels * block.volume(), pad), block);
      if (block.skip) {
        const PlainVolume skip = moved_up(x, block);
        each_element(y.extents, [&](auto t, auto h, auto w, auto c) {
          y.at(t, h, w, c) = rounded(y.at(t, h, w, c) + skip.at(t, h, w, c % skip.extents[3]));
        });
      }
      x = std::move(y);
    }
    const PlainVolume patches = conv3(norm_silu(x), weights, "conv_out", 48, pad);
    PlainVolume frames({x.extents[0], 4 * x.extents[1], 4 * x.extents[2], 3});
    each_element(frames.extents, [&](auto t, auto h, auto w, auto c) {
      const double value = patches.at(t, h / 4, w / 4, (c * 4 + w % 4) * 4 + h % 4);
      frames.at(t, h, w, c) = std::clamp((value + 1.0) / 2.0, 0.0, 1.0);
    });
    return frames;
  }

  /// Normalised latent of frames in [-1, 1].
  PlainVolume encode(const PlainVolume& video) const {
    const VideoVaeConfig& config = *checkpoint_.config().video_vae;
    const WeightScope weights = checkpoint_.prefixed("vae.encoder.");
    const Pad pad{2, 0, true, config.encoder_padding == SpatialPadding::reflect};
    PlainVolume patches({video.extents[0], video.extents[1] / 4, video.extents[2] / 4, 48});
    each_element(video.extents, [&](auto t, auto h, auto w, auto c) {
      patches.at(t, h / 4, w / 4, (c * 4 + w % 4) * 4 + h % 4) = rounded(video.at(t, h, w, c));
    });
    PlainVolume x = conv3(patches, weights, "conv_in", config.encoder_in(), pad);
    for (std::size_t i = 0; i < config.encoder_blocks.size(); ++i) {
      const VaeBlock& block = config.encoder_blocks[i];
      const WeightScope scope = weights.scope("down_blocks." + std::to_string(i));
      if (block.kind == VaeBlock::Kind::residual) {
        for (std::int64_t j = 0; j < block.layers; ++j) x = residual(x, scope, j, pad);
        continue;
      }
      const PlainVolume longer = block.time == 2 ? with_first_frame_twice(x) : x;
      PlainVolume y = moved_down(conv3(longer, scope, "conv", block.out_channels / block.volume(), pad), block);
      const PlainVolume skip = moved_down(longer, block);
      const std::int64_t group = skip.extents[3] / y.extents[3];
      each_element(y.extents, [&](auto t, auto h, auto w, auto c) {
        double mean = 0.0;
        for (std::int64_t k = 0; k < group; ++k) mean += skip.at(t, h, w, c * group + k) / static_cast<double>(group);
        y.at(t, h, w, c) = rounded(y.at(t, h, w, c) + rounded(mean));
      });
      x = std::move(y);
    }
    const PlainVolume both = conv3(norm_silu(x), weights, "conv_out", config.latent_channels + 1, pad);
    PlainVolume mean({both.extents[0], both.extents[1], both.extents[2], config.latent_channels});
    each_element(mean.extents, [&](auto t, auto h, auto w, auto c) { mean.at(t, h, w, c) = both.at(t, h, w, c); });
    return statistics(mean, false);
  }

  /// Normalised latent of higher resolution, by an upsampler's file.
  PlainVolume upsample(const Checkpoint& upsampler, const PlainVolume& latent) const {
    const UpsamplerConfig& config = *upsampler.config().upsampler;
    const WeightScope weights = upsampler.prefixed("");
    const Pad pad{1, 1, false, false};
    PlainVolume x = statistics(latent, true);
    x = silu(
        group_norm(conv(x, weights, "initial_conv", config.mid_channels, {3, 3, 3}, pad), weights, "initial_norm"));
    const auto blocks = [&](const std::string& name) {
      for (std::int64_t i = 0; i < config.blocks_per_stage; ++i) {
        const WeightScope scope = weights.scope(name + "." + std::to_string(i));
        PlainVolume h = conv(x, scope, "conv1", config.mid_channels, {3, 3, 3}, pad);
        h = silu(group_norm(h, scope, "norm1"));
        h = group_norm(conv(h, scope, "conv2", config.mid_channels, {3, 3, 3}, pad), scope, "norm2");
        x = silu(added(h, x));
      }
    };
    blocks("res_blocks");
    VaeBlock raise;
    raise.space = config.numerator;
    x = moved_up(conv(x, weights, config.rational ? "upsampler.conv" : "upsampler.0",
                      raise.volume() * config.mid_channels, {1, 3, 3}, {0, 0, false, false}),
                 raise);
    if (config.denominator > 1) x = blurred(x, config.denominator);
    blocks("post_upsample_res_blocks");
    return statistics(conv(x, weights, "final_conv", config.in_channels, {3, 3, 3}, pad), false);
  }

 private:
  struct Pad {
    std::int64_t before;  ///< frames in front
    std::int64_t after;   ///< frames behind
    bool replicate;       ///< of time; else zeros
    bool reflect;         ///< of space; else zeros
  };

  double rounded(double value) const {
    return bf16_ ? static_cast<double>(static_cast<float>(ltxmem::bfloat16(static_cast<float>(value)))) : value;
  }

  PlainVolume statistics(const PlainVolume& x, bool undo) const {
    const WeightScope weights = checkpoint_.prefixed("vae.per_channel_statistics.");
    const ltxmem::WeightVector mean = weights.vector("mean-of-means", x.extents[3]);
    const ltxmem::WeightVector deviation = weights.vector("std-of-means", x.extents[3]);
    PlainVolume y(x.extents);
    each_element(x.extents, [&](auto t, auto h, auto w, auto c) {
      const double value = x.at(t, h, w, c);
      y.at(t, h, w, c) = undo ? rounded(value * double{deviation[c]} + double{mean[c]})
                              : (value - double{mean[c]}) / double{deviation[c]};
    });
    return y;
  }

  PlainVolume conv3(const PlainVolume& x, const WeightScope& weights, const std::string& name, std::int64_t outputs,
                    const Pad& pad) const {
    return conv(x, weights, name + ".conv", outputs, {3, 3, 3}, pad);
  }

  /// Space is padded by one. A kernel of two dimensions is stored without its extent in time.
  PlainVolume conv(const PlainVolume& x, const WeightScope& weights, const std::string& name, std::int64_t outputs,
                   const ltxmem::Extents<3>& kernel, const Pad& pad) const {
    const std::vector<std::int64_t> stored =
        kernel[0] == 1 ? std::vector<std::int64_t>{kernel[1], kernel[2]} : std::vector<std::int64_t>{3, 3, 3};
    const LinearWeights file = weights.convolution(name, outputs, x.extents[3], stored);
    std::vector<double> weight;
    for (std::int64_t i = 0; i < file.weight.rows * file.weight.columns; ++i) {
      weight.push_back(rounded(double{flattened(file.weight)[i]}));
    }
    const auto source = [](std::int64_t at, std::int64_t extent, bool repeats, bool mirrors) -> std::int64_t {
      if (at >= 0 && at < extent) return at;
      if (repeats) return at < 0 ? 0 : extent - 1;
      if (mirrors) return at < 0 ? -at : 2 * extent - 2 - at;
      return -1;
    };
    PlainVolume y({x.extents[0] + pad.before + pad.after - kernel[0] + 1, x.extents[1], x.extents[2], outputs});
    each_element(y.extents, [&](auto t, auto h, auto w, auto o) {
      double sum = double{file.bias[o]};
      std::size_t tap = static_cast<std::size_t>(o * file.weight.columns);
      for (std::int64_t c = 0; c < x.extents[3]; ++c) {
        for (std::int64_t i = 0; i < kernel[0]; ++i) {
          const std::int64_t from_t = source(t + i - pad.before, x.extents[0], pad.replicate, false);
          for (std::int64_t j = 0; j < kernel[1]; ++j) {
            const std::int64_t from_h = source(h + j - 1, x.extents[1], false, pad.reflect);
            for (std::int64_t k = 0; k < kernel[2]; ++k, ++tap) {
              const std::int64_t from_w = source(w + k - 1, x.extents[2], false, pad.reflect);
              if (from_t >= 0 && from_h >= 0 && from_w >= 0) sum += weight[tap] * x.at(from_t, from_h, from_w, c);
            }
          }
        }
      }
      y.at(t, h, w, o) = rounded(sum);
    });
    return y;
  }

  PlainVolume silu(PlainVolume x) const {
    for (double& value : x.values) value = rounded(value / (1.0 + std::exp(-value)));
    return x;
  }

  PlainVolume norm_silu(PlainVolume x) const {
    const auto channels = static_cast<std::size_t>(x.extents[3]);
    for (std::size_t row = 0; row < x.values.size(); row += channels) {
      double squares = 0.0;
      for (std::size_t c = row; c < row + channels; ++c) squares += x.values[c] * x.values[c];
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(channels) + 1e-8);
      for (std::size_t c = row; c < row + channels; ++c) x.values[c] = rounded(x.values[c] * factor);
    }
    return silu(std::move(x));
  }

  PlainVolume group_norm(PlainVolume x, const WeightScope& weights, const std::string& name) const {
    const std::int64_t channels = x.extents[3];
    const std::int64_t width = channels / 32;
    const ltxmem::WeightVector weight = weights.vector(name + ".weight", channels);
    const ltxmem::WeightVector bias = weights.vector(name + ".bias", channels);
    std::vector<double> sums(32);
    std::vector<double> squares(32);
    const auto group = [width](std::int64_t c) { return static_cast<std::size_t>(c / width); };
    const double count = static_cast<double>(x.values.size()) / 32.0;
    each_element(x.extents, [&](auto t, auto h, auto w, auto c) { sums[group(c)] += x.at(t, h, w, c) / count; });
    each_element(x.extents, [&](auto t, auto h, auto w, auto c) {
      squares[group(c)] += std::pow(x.at(t, h, w, c) - sums[group(c)], 2) / count;
    });
    each_element(x.extents, [&](auto t, auto h, auto w, auto c) {
      const double normed = (x.at(t, h, w, c) - sums[group(c)]) / std::sqrt(squares[group(c)] + 1e-5);
      x.at(t, h, w, c) = rounded(normed * double{weight[c]} + double{bias[c]});
    });
    return x;
  }

  PlainVolume added(PlainVolume x, const PlainVolume& y) const {
    for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = rounded(x.values[i] + y.values[i]);
    return x;
  }

  PlainVolume residual(const PlainVolume& x, const WeightScope& weights, std::int64_t index, const Pad& pad) const {
    const WeightScope scope = weights.scope("res_blocks." + std::to_string(index));
    const PlainVolume h = conv3(norm_silu(x), scope, "conv1", x.extents[3], pad);
    return added(conv3(norm_silu(h), scope, "conv2", x.extents[3], pad), x);
  }

  /// Channels to positions, the first frame dropped when time doubles.
  static PlainVolume moved_up(const PlainVolume& x, const VaeBlock& block) {
    const std::int64_t drop = block.time - 1;
    PlainVolume y({x.extents[0] * block.time - drop, x.extents[1] * block.space, x.extents[2] * block.space,
                   x.extents[3] / block.volume()});
    each_element(x.extents, [&](auto t, auto h, auto w, auto channel) {
      const std::int64_t frame = t * block.time + channel / (block.space * block.space) % block.time - drop;
      if (frame < 0) return;
      y.at(frame, h * block.space + channel / block.space % block.space, w * block.space + channel % block.space,
           channel / block.volume()) = x.at(t, h, w, channel);
    });
    return y;
  }

  static PlainVolume moved_down(const PlainVolume& x, const VaeBlock& block) {
    PlainVolume y({x.extents[0] / block.time, x.extents[1] / block.space, x.extents[2] / block.space,
                   x.extents[3] * block.volume()});
    each_element(x.extents, [&](auto t, auto h, auto w, auto c) {
      const std::int64_t offset = (t % block.time * block.space + h % block.space) * block.space + w % block.space;
      y.at(t / block.time, h / block.space, w / block.space, c * block.volume() + offset) = x.at(t, h, w, c);
    });
    return y;
  }

  /// Binomial filter of five taps along height and width, every stride-th position kept.
  PlainVolume blurred(const PlainVolume& x, std::int64_t stride) const {
    constexpr double taps[5] = {1.0 / 16, 4.0 / 16, 6.0 / 16, 4.0 / 16, 1.0 / 16};
    PlainVolume y(
        {x.extents[0], ltxmem::ceil_div(x.extents[1], stride), ltxmem::ceil_div(x.extents[2], stride), x.extents[3]});
    each_element(y.extents, [&](auto t, auto h, auto w, auto c) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < 5; ++i) {
        for (std::int64_t j = 0; j < 5; ++j) {
          const std::int64_t row = h * stride + i - 2;
          const std::int64_t column = w * stride + j - 2;
          if (row < 0 || column < 0 || row >= x.extents[1] || column >= x.extents[2]) continue;
          sum += taps[i] * taps[j] * x.at(t, row, column, c);
        }
      }
      y.at(t, h, w, c) = rounded(sum);
    });
    return y;
  }

  static PlainVolume with_first_frame_twice(const PlainVolume& x) {
    PlainVolume y({x.extents[0] + 1, x.extents[1], x.extents[2], x.extents[3]});
    each_element(y.extents, [&](auto t, auto h, auto w, auto c) {
      y.at(t, h, w, c) = x.at(std::max<std::int64_t>(t - 1, 0), h, w, c);
    });
    return y;
  }

  const Checkpoint& checkpoint_;
  bool bf16_;
};

}  // namespace ltx2::test
