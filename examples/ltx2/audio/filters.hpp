// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>
#include <utility>

#include "ltxmem/config.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/core/weight_view.hpp"

/// Element work of the vocoders, for Backend::for_each. Signals are [samples, channels].
/// Source    docs/ltx2/vae.md 7

namespace ltx2 {

/// y = x where x >= 0, slope * x elsewhere; y may be x. One call per row.
struct LeakyRelu {
  ltxmem::TensorView<const float, 2> x;
  ltxmem::TensorView<float, 2> y;
  float slope;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t c = 0; c < y.extent(1); ++c) {
      const float value = x(row, c);
      y(row, c) = value >= 0.0F ? value : slope * value;
    }
  }
};

/// sum = (first ? x : sum + x) / divisor. One call per row.
struct Accumulate {
  ltxmem::TensorView<const float, 2> x;
  ltxmem::TensorView<float, 2> sum;
  bool first;
  float divisor;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t c = 0; c < sum.extent(1); ++c) {
      sum(row, c) = (first ? x(row, c) : sum(row, c) + x(row, c)) / divisor;
    }
  }
};

/// y = limit(x) with limit tanh or a clamp to [-1, 1]; y may be x. One call per row.
struct LimitSamples {
  ltxmem::TensorView<const float, 2> x;
  ltxmem::TensorView<float, 2> y;
  bool use_tanh;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t c = 0; c < y.extent(1); ++c) {
      y(row, c) = use_tanh ? std::tanh(x(row, c)) : std::clamp(x(row, c), -1.0F, 1.0F);
    }
  }
};

/// fn(k) for k in [0, count), each a constant: what it indexes by them can lie in registers.
template <std::int64_t count, class Fn>
LTXMEM_HOST_DEVICE void unrolled(const Fn& fn) {
  [&]<std::int64_t... k>(std::integer_sequence<std::int64_t, k...>) {
    (fn(std::integral_constant<std::int64_t, k>()), ...);
  }
  (std::make_integer_sequence<std::int64_t, count>());
}

/// Weights of the anti-aliased activation.
struct SnakeWeights {
  ltxmem::WeightVector alpha;  ///< [C]
  ltxmem::WeightVector beta;   ///< [C]
  ltxmem::WeightVector up;     ///< [12]
  ltxmem::WeightVector down;   ///< [12]
};

/// sin^2(z), absolute error below 1e-6 for |z| up to 10,000; without branches or calls, so that loops over it
/// vectorise.
///
/// The period is pi: z = n pi + r with |r| <= pi / 2 and pi in three parts, the first two short enough for exact
/// products with n; sin r is its Taylor polynomial of degree 11, whose remainder there is below 6e-8.
LTXMEM_HOST_DEVICE inline float sine_squared(float z) {
  constexpr float to_integer = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer
  constexpr float pi_high = 3.140625F;
  constexpr float pi_middle = 9.67502593994140625e-4F;
  constexpr float pi_low = 1.509957990978376432e-7F;
  const float n = (z * std::numbers::inv_pi_v<float> + to_integer) - to_integer;
  const float r = ((z - n * pi_high) - n * pi_middle) - n * pi_low;
  const float square = r * r;
  float p = -2.50521084e-8F;
  p = p * square + 2.75573192e-6F;
  p = p * square - 1.98412698e-4F;
  p = p * square + 8.33333333e-3F;
  p = p * square - 1.66666667e-1F;
  const float sine = r + r * square * p;
  return sine * sine;
}

/// The snake activation at twice the sampling rate: y = down(snake(up(x))), channel by channel.
///
/// Computes  up: x between replicated ends, zeros between samples, 12-tap filter times 2; snake: u + sin^2(u e^alpha) /
///           (e^beta + 1e-9); down: 12-tap filter between replicated ends, every second sample
/// Shapes    x, y [N, C], not the same memory
/// Memory    a strip of the doubled signal on the stack; it never exists as a whole. part() has twelve samples of it
/// Cost      one call per strip of samples and channels, see calls(); its parts are the channels
/// Numerics  the same sums in the same order, whether by calls or by parts
/// Source    Lee et al., "BigVGAN", 2023, section 3; Karras et al., "Alias-Free GAN", 2021, section 3.2
struct AntiAliasedSnake {
  static constexpr std::int64_t samples = 64;
  static constexpr std::int64_t lanes = 16;
  static constexpr std::int64_t parts = lanes;
  static constexpr std::int64_t taps = 12;
  static constexpr std::int64_t reach = 5;  ///< what both filters replicate in front of their input

  ltxmem::TensorView<const float, 2> x;
  ltxmem::TensorView<float, 2> y;
  SnakeWeights weights;

  std::int64_t calls() const { return ltxmem::ceil_div(x.extent(0), samples) * strips(); }

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const std::int64_t begin = index / strips() * samples;
    const std::int64_t end = std::min(begin + samples, x.extent(0));
    const std::int64_t channel = index % strips() * lanes;
    const std::int64_t width = std::min(+lanes, x.extent(1) - channel);
    float up[taps];
    float down[taps];
    float frequency[lanes] = {};
    float amplitude[lanes] = {};
    for (std::int64_t k = 0; k < taps; ++k) up[k] = 2.0F * weights.up[k];
    for (std::int64_t k = 0; k < taps; ++k) down[k] = weights.down[k];
    for (std::int64_t c = 0; c < width; ++c) {
      frequency[c] = std::exp(weights.alpha[channel + c]);
      amplitude[c] = 1.0F / (std::exp(weights.beta[channel + c]) + 1e-9F);
    }

    // Inputs from begin - reach on, the ends replicated; lanes without a channel stay zero.
    float source[samples + 2 * reach][lanes] = {};
    for (std::int64_t n = begin - reach; n < end + reach; ++n) {
      const std::int64_t row = std::clamp<std::int64_t>(n, 0, x.extent(0) - 1);
      std::copy_n(x.data() + row * x.stride(0) + channel, width, source[n - begin + reach]);
    }

    // The doubled signal where the outputs need it, without the replicated ends.
    const std::int64_t first = std::max<std::int64_t>(2 * begin - reach, 0);
    const std::int64_t last = std::min(2 * (end - 1) + taps - 1 - reach, 2 * x.extent(0) - 1);
    float doubled[2 * samples + taps][lanes];
    for (std::int64_t m = first; m <= last; ++m) {
      float u[lanes] = {};
      for (std::int64_t k = (m + reach) % 2; k < taps; k += 2) {
        const float* from = source[(m + reach - k) / 2 - begin + reach];
        for (std::int64_t c = 0; c < lanes; ++c) u[c] += up[k] * from[c];
      }
      for (std::int64_t c = 0; c < lanes; ++c) {
        doubled[m - first][c] = u[c] + sine_squared(u[c] * frequency[c]) * amplitude[c];
      }
    }
    for (std::int64_t n = begin; n < end; ++n) {
      float sum[lanes] = {};
      for (std::int64_t k = 0; k < taps; ++k) {
        const float* u = doubled[std::clamp(2 * n + k - reach, first, last) - first];
        for (std::int64_t c = 0; c < lanes; ++c) sum[c] += down[k] * u[c];
      }
      std::copy_n(sum, width, y.data() + n * y.stride(0) + channel);
    }
  }

  /// The same for one channel of the strip, for threads of a device: a window slides over the doubled signal, two
  /// samples for each output, and every index into it is a constant, so that it lies in registers.
  LTXMEM_HOST_DEVICE void part(std::int64_t index, std::int64_t lane) const {
    const std::int64_t begin = index / strips() * samples;
    const std::int64_t end = std::min(begin + samples, x.extent(0));
    const std::int64_t channel = index % strips() * lanes + lane;
    if (channel >= x.extent(1)) return;
    float up[taps];
    float down[taps];
    unrolled<taps>([&](auto k) {
      up[k] = 2.0F * weights.up[k];
      down[k] = weights.down[k];
    });
    const float frequency = std::exp(weights.alpha[channel]);
    const float amplitude = 1.0F / (std::exp(weights.beta[channel]) + 1e-9F);

    const auto doubled = [&](std::int64_t at) {
      const std::int64_t m = std::clamp<std::int64_t>(at, 0, 2 * x.extent(0) - 1);
      const bool odd = (m + reach) % 2 != 0;
      float u = 0.0F;
      unrolled<taps / 2>([&](auto j) {
        const std::int64_t row = std::clamp<std::int64_t>((m + reach) / 2 - j, 0, x.extent(0) - 1);
        u += (odd ? up[2 * j + 1] : up[2 * j]) * x(row, channel);
      });
      return u + sine_squared(u * frequency) * amplitude;
    };
    float window[taps];
    unrolled<taps - 2>([&](auto k) { window[k + 2] = doubled(2 * begin + k - reach); });
    for (std::int64_t n = begin; n < end; ++n) {
      unrolled<taps - 2>([&](auto k) { window[k] = window[k + 2]; });
      window[taps - 2] = doubled(2 * n + taps - 2 - reach);
      window[taps - 1] = doubled(2 * n + taps - 1 - reach);
      float sum = 0.0F;
      unrolled<taps>([&](auto k) { sum += down[k] * window[k]; });
      y(n, channel) = sum;
    }
  }

 private:
  LTXMEM_HOST_DEVICE std::int64_t strips() const { return ltxmem::ceil_div(x.extent(1), lanes); }
};

/// Raises the sampling rate by a whole factor with a windowed sinc and adds a correction:
/// y = clamp(correction + resampled x, -1, 1), one call per row of y.
///
/// Shapes    x [N, channels], correction [at least rows of y, channels], y [at most factor N, channels]
/// Numerics  taps computed in double; the ends of x are replicated
/// Source    the sinc interpolation of torchaudio.functional.resample with lowpass_filter_width 6 and rolloff 0.99
struct ResampleAndAdd {
  static constexpr std::int64_t zero_crossings = 6;
  static constexpr double rolloff = 0.99;
  static constexpr std::int64_t reach = 7;  ///< ceil(zero_crossings / rolloff), in samples of x
  static constexpr std::int64_t most_factor = 8;

  ltxmem::TensorView<const float, 2> x;
  ltxmem::TensorView<const float, 2> correction;
  ltxmem::TensorView<float, 2> y;
  std::int64_t factor;
  std::array<float, 2 * reach * most_factor + 1> taps{};

  ResampleAndAdd(ltxmem::TensorView<const float, 2> from, ltxmem::TensorView<const float, 2> add,
                 ltxmem::TensorView<float, 2> to, std::int64_t rate_factor)
      : x(from), correction(add), y(to), factor(rate_factor) {
    ltxmem::expects(factor >= 1 && factor <= most_factor, "resample: factor ", factor, ", expected 1 to ", most_factor);
    for (std::int64_t k = 0; k <= 2 * reach * factor; ++k) {
      const double t = (static_cast<double>(k) / static_cast<double>(factor) - reach) * rolloff;
      const double angle = std::numbers::pi * t;
      const double sinc = t == 0.0 ? 1.0 : std::sin(angle) / angle;
      const double limited = std::clamp<double>(t, -zero_crossings, zero_crossings);
      const double window = std::cos(std::numbers::pi * limited / (2.0 * zero_crossings));
      taps[static_cast<std::size_t>(k)] = static_cast<float>(sinc * window * window * rolloff);
    }
  }

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    // Tap k meets sample (row + reach * factor - k) / factor of x where that is whole.
    const std::int64_t top = row + reach * factor;
    for (std::int64_t c = 0; c < y.extent(1); ++c) {
      float sum = 0.0F;
      for (std::int64_t k = top % factor; k <= 2 * reach * factor; k += factor) {
        const std::int64_t source = std::clamp<std::int64_t>((top - k) / factor, 0, x.extent(0) - 1);
        sum += taps[static_cast<std::size_t>(k)] * x(source, c);
      }
      y(row, c) = std::clamp(correction(row, c) + sum, -1.0F, 1.0F);
    }
  }
};

/// Spectrogram to vocoder input: y[t][channel * bins + bin] = mel[t][bin][channel]. One call per frame.
struct ChannelsOfMel {
  ltxmem::TensorView<const float, 2> mel;  ///< [frames, bins * channels], channels fastest
  ltxmem::TensorView<float, 2> y;
  std::int64_t channels;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t frame) const {
    const std::int64_t bins = y.extent(1) / channels;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t bin = 0; bin < bins; ++bin) {
        y(frame, channel * bins + bin) = mel(frame, bin * channels + channel);
      }
    }
  }
};

/// y = |real + i imaginary| of a transform whose rows are all real parts, then all imaginary parts. One call per frame.
struct Magnitude {
  ltxmem::TensorView<const float, 2> x;  ///< [frames, 2 bins]
  ltxmem::TensorView<float, 2> y;        ///< [frames, bins]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t frame) const {
    const std::int64_t bins = y.extent(1);
    for (std::int64_t bin = 0; bin < bins; ++bin) {
      const float real = x(frame, bin);
      const float imaginary = x(frame, bins + bin);
      y(frame, bin) = std::sqrt(real * real + imaginary * imaginary);
    }
  }
};

/// x = ln(max(x, 1e-5)), in place. One call per row.
struct LogFloor {
  ltxmem::TensorView<float, 2> x;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t c = 0; c < x.extent(1); ++c) x(row, c) = std::log(std::max(x(row, c), 1e-5F));
  }
};

}  // namespace ltx2
