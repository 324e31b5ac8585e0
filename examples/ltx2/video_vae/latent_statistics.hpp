// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// Per-channel statistics of latents, as the checkpoint stores them.
struct LatentStatistics {
  ltxmem::WeightVector mean;
  ltxmem::WeightVector deviation;

  /// Those of the video latents of a model.
  static LatentStatistics of_video(const Checkpoint& checkpoint, std::int64_t channels) {
    const WeightScope weights = checkpoint.prefixed("vae.per_channel_statistics.");
    return {weights.vector("mean-of-means", channels), weights.vector("std-of-means", channels)};
  }
};

/// y = x * deviation + mean per channel: from what the sampler works on to what the decoder reads.
template <class From, class To>
struct Unnormalise {
  ltxmem::TensorView<const From, 4> x;
  ltxmem::TensorView<To, 4> y;
  LatentStatistics statistics;

  void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    for (std::int64_t c = 0; c < y.extent(3); ++c) {
      y(at.t, at.y, at.x, c) =
          To(static_cast<float>(x(at.t, at.y, at.x, c)) * statistics.deviation[c] + statistics.mean[c]);
    }
  }
};

/// y = (x - mean) / deviation per channel.
template <class From, class To>
struct Normalise {
  ltxmem::TensorView<const From, 4> x;
  ltxmem::TensorView<To, 4> y;
  LatentStatistics statistics;

  void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    for (std::int64_t c = 0; c < y.extent(3); ++c) {
      y(at.t, at.y, at.x, c) =
          To((static_cast<float>(x(at.t, at.y, at.x, c)) - statistics.mean[c]) / statistics.deviation[c]);
    }
  }
};

}  // namespace ltx2
