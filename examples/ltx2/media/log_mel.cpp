// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/log_mel.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <cstddef>
#include <numbers>
#include <utility>

#include "ltxmem/core/error.hpp"

namespace ltx2 {
namespace {

/// In-place radix-2 Fourier transform of a fixed power-of-two length, decimation in time.
class FourierTransform {
 public:
  explicit FourierTransform(std::size_t length) : reversed_(length, 0), roots_(length / 2) {
    for (std::size_t i = 1; i < length; ++i) reversed_[i] = reversed_[i / 2] / 2 + (i % 2) * (length / 2);
    for (std::size_t k = 0; k < roots_.size(); ++k) {
      roots_[k] = std::polar(1.0, -2.0 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(length));
    }
  }

  void operator()(std::vector<std::complex<double>>& values) const {
    const std::size_t length = values.size();
    for (std::size_t i = 0; i < length; ++i) {
      if (i < reversed_[i]) std::swap(values[i], values[reversed_[i]]);
    }
    for (std::size_t half = 1; half < length; half *= 2) {
      const std::size_t root_step = length / (2 * half);
      for (std::size_t block = 0; block < length; block += 2 * half) {
        for (std::size_t k = 0; k < half; ++k) {
          const std::complex<double> upper = values[block + k];
          const std::complex<double> lower = values[block + k + half] * roots_[k * root_step];
          values[block + k] = upper + lower;
          values[block + k + half] = upper - lower;
        }
      }
    }
  }

 private:
  std::vector<std::size_t> reversed_;  ///< index with its bits in the opposite order
  std::vector<std::complex<double>> roots_;
};

constexpr double linear_hz_per_mel = 200.0 / 3.0;
constexpr double log_start_hz = 1000.0;
constexpr double log_start_mel = log_start_hz / linear_hz_per_mel;

double log_step() {
  return std::log(6.4) / 27.0;
}

double hz_to_mel(double hz) {
  return hz < log_start_hz ? hz / linear_hz_per_mel : log_start_mel + std::log(hz / log_start_hz) / log_step();
}

double mel_to_hz(double mel) {
  return mel < log_start_mel ? mel * linear_hz_per_mel : log_start_hz * std::exp(log_step() * (mel - log_start_mel));
}

/// The non-zero part of one triangular filter.
struct MelFilter {
  std::size_t first_bin = 0;
  std::vector<double> weights;
};

std::vector<MelFilter> make_filters(const LogMelConfig& config) {
  const double nyquist_hz = static_cast<double>(config.sample_rate) / 2.0;
  const auto bins = static_cast<std::size_t>(config.filter_length / 2 + 1);
  const auto count = static_cast<std::size_t>(config.mel_bins);
  std::vector<double> corners_hz(count + 2);
  for (std::size_t i = 0; i < corners_hz.size(); ++i) {
    corners_hz[i] = mel_to_hz(hz_to_mel(nyquist_hz) * static_cast<double>(i) / static_cast<double>(count + 1));
  }
  std::vector<MelFilter> filters(count);
  for (std::size_t m = 0; m < count; ++m) {
    const double low = corners_hz[m];
    const double peak = corners_hz[m + 1];
    const double high = corners_hz[m + 2];
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const double hz = nyquist_hz * static_cast<double>(bin) / static_cast<double>(bins - 1);
      const double height = std::min((hz - low) / (peak - low), (high - hz) / (high - peak));
      if (height <= 0.0) continue;
      if (filters[m].weights.empty()) filters[m].first_bin = bin;
      filters[m].weights.push_back(height * 2.0 / (high - low));
    }
  }
  return filters;
}

/// Index into a signal that is mirrored at both ends, for at most one reflection.
std::int64_t mirrored(std::int64_t index, std::int64_t length) {
  if (index < 0) return -index;
  return index < length ? index : 2 * (length - 1) - index;
}

}  // namespace

std::int64_t log_mel_frames(std::int64_t samples, const LogMelConfig& config) {
  return 1 + samples / config.hop_length;
}

std::vector<float> log_mel(std::span<const float> waveform, std::int64_t channels, const LogMelConfig& config) {
  ltxmem::expects(config.sample_rate > 0 && config.filter_length >= 2 && config.filter_length <= 1 << 20 &&
                      std::has_single_bit(static_cast<std::uint64_t>(config.filter_length)) && config.hop_length > 0 &&
                      config.mel_bins > 0,
                  "log_mel: sample rate ", config.sample_rate, ", filter length ", config.filter_length, ", hop ",
                  config.hop_length, ", mel bins ", config.mel_bins,
                  "; all must be positive and the filter length a power of two");
  ltxmem::expects(channels > 0 && waveform.size() % static_cast<std::size_t>(channels) == 0,
                  "log_mel: ", waveform.size(), " samples in ", channels, " channels");
  const std::int64_t samples = static_cast<std::int64_t>(waveform.size()) / channels;
  ltxmem::expects(samples > config.filter_length / 2, "log_mel: ", samples, " samples, more than ",
                  config.filter_length / 2, " are needed to mirror the ends");

  const auto length = static_cast<std::size_t>(config.filter_length);
  std::vector<double> window(length);
  for (std::size_t i = 0; i < length; ++i) {
    window[i] = 0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length));
  }
  const std::vector<MelFilter> filters = make_filters(config);
  const FourierTransform transform(length);
  const std::int64_t frames = log_mel_frames(samples, config);
  std::vector<std::complex<double>> spectrum(length);
  std::vector<float> result;
  result.reserve(static_cast<std::size_t>(channels * frames * config.mel_bins));
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto signal = waveform.subspan(static_cast<std::size_t>(c * samples), static_cast<std::size_t>(samples));
    for (std::int64_t frame = 0; frame < frames; ++frame) {
      const std::int64_t begin = frame * config.hop_length - config.filter_length / 2;
      for (std::size_t i = 0; i < length; ++i) {
        const std::int64_t source = mirrored(begin + static_cast<std::int64_t>(i), samples);
        spectrum[i] = window[i] * static_cast<double>(signal[static_cast<std::size_t>(source)]);
      }
      transform(spectrum);
      for (const MelFilter& filter : filters) {
        double sum = 0.0;
        for (std::size_t i = 0; i < filter.weights.size(); ++i) {
          sum += filter.weights[i] * std::abs(spectrum[filter.first_bin + i]);
        }
        result.push_back(static_cast<float>(std::log(std::max(sum, 1e-5))));
      }
    }
  }
  return result;
}

}  // namespace ltx2
