// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// Statistics of latents as the checkpoint stores them: one mean and deviation per channel, or per pair of channel and
/// frequency bin, channel-major. The bins of sound latents [1, time, bins, C] are their innermost positions.
struct LatentStatistics {
  ltxmem::WeightVector mean;
  ltxmem::WeightVector deviation;
  std::int64_t bins = 1;

  /// Those in the weights of an autoencoder.
  static LatentStatistics of(const WeightScope& autoencoder, std::int64_t channels, std::int64_t bins = 1) {
    const WeightScope weights = autoencoder.scope("per_channel_statistics");
    return {weights.vector("mean-of-means", channels * bins), weights.vector("std-of-means", channels * bins), bins};
  }

  LTXMEM_HOST_DEVICE std::int64_t index(std::int64_t channel, std::int64_t x) const noexcept {
    return channel * bins + x % bins;
  }
};

/// y = x * deviation + mean: from what the sampler works on to what the decoder reads.
template <class From, class To>
struct Unnormalise {
  ltxmem::TensorView<const From, 4> x;
  ltxmem::TensorView<To, 4> y;
  LatentStatistics statistics;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    for (std::int64_t c = 0; c < y.extent(3); ++c) {
      const std::int64_t i = statistics.index(c, at.x);
      y(at.t, at.y, at.x, c) =
          To(static_cast<float>(x(at.t, at.y, at.x, c)) * statistics.deviation[i] + statistics.mean[i]);
    }
  }
};

/// y = (x - mean) / deviation.
template <class From, class To>
struct Normalise {
  ltxmem::TensorView<const From, 4> x;
  ltxmem::TensorView<To, 4> y;
  LatentStatistics statistics;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    for (std::int64_t c = 0; c < y.extent(3); ++c) {
      const std::int64_t i = statistics.index(c, at.x);
      y(at.t, at.y, at.x, c) =
          To((static_cast<float>(x(at.t, at.y, at.x, c)) - statistics.mean[i]) / statistics.deviation[i]);
    }
  }
};

}  // namespace ltx2
