// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/math/activation.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem {

/// Options of group_norm.
template <Element T>
struct GroupNormArguments {
  std::int64_t groups = 32;
  float eps = 1e-5F;
  WeightVector weight{};  ///< [C]
  WeightVector bias{};    ///< [C]
  TensorView<const T, 2> residual{};
  bool silu = false;  ///< after the residual is added
};

namespace detail {

/// Positions whose values one call adds up. Fixed, so that the order of every sum depends on the shape alone.
inline constexpr std::int64_t group_norm_chunk = 256;

/// Sums of (x - mean)^power over one chunk of positions and one group of channels.
template <class T>
struct GroupPartialSums {
  TensorView<const T, 2> x;
  TensorView<float, 2> sums;         ///< [chunks, groups]
  TensorView<const float, 1> means;  ///< of the groups; empty: the plain sum

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const std::int64_t groups = sums.extent(1);
    const std::int64_t chunk = index / groups;
    const std::int64_t group = index % groups;
    const std::int64_t width = x.extent(1) / groups;
    const std::int64_t end =
        x.extent(0) < (chunk + 1) * group_norm_chunk ? x.extent(0) : (chunk + 1) * group_norm_chunk;
    float sum = 0.0F;
    for (std::int64_t row = chunk * group_norm_chunk; row < end; ++row) {
      const T* values = x.data() + row * x.stride(0) + group * width;
      float row_sum = 0.0F;
      if (means.empty()) {
        for (std::int64_t i = 0; i < width; ++i) row_sum += static_cast<float>(values[i]);
      } else {
        const float mean = means(group);
        for (std::int64_t i = 0; i < width; ++i) {
          const float difference = static_cast<float>(values[i]) - mean;
          row_sum += difference * difference;
        }
      }
      sum += row_sum;
    }
    sums(chunk, group) = sum;
  }
};

/// The mean over a group from the sums of its chunks.
struct GroupMean {
  TensorView<const float, 2> sums;
  TensorView<float, 1> means;
  std::int64_t count;  ///< values of a group

  LTXMEM_HOST_DEVICE void operator()(std::int64_t group) const {
    double sum = 0.0;
    for (std::int64_t chunk = 0; chunk < sums.extent(0); ++chunk) sum += static_cast<double>(sums(chunk, group));
    means(group) = static_cast<float>(sum / static_cast<double>(count));
  }
};

/// What every value of a channel is normalised with: rows mean, factor, bias.
struct GroupChannelTable {
  TensorView<const float, 1> means;
  TensorView<const float, 1> variances;
  WeightVector weight;
  WeightVector bias;
  float eps;
  TensorView<float, 2> table;  ///< [3, C]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t channel) const {
    const std::int64_t group = channel / (table.extent(1) / means.extent(0));
    const float factor = 1.0F / std::sqrt(variances(group) + eps);
    table(0, channel) = means(group);
    table(1, channel) = weight.empty() ? factor : factor * weight[channel];
    table(2, channel) = bias.empty() ? 0.0F : bias[channel];
  }
};

template <class T>
struct GroupNormApply {
  TensorView<const T, 2> x;
  TensorView<const float, 2> table;
  TensorView<const T, 2> residual;
  bool apply_silu;
  TensorView<T, 2> y;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    const std::int64_t channels = x.extent(1);
    const T* from = x.data() + row * x.stride(0);
    T* to = y.data() + row * y.stride(0);
    const float* means = table.data();
    const float* factors = means + channels;
    const float* biases = factors + channels;
    const T* added = residual.empty() ? nullptr : residual.data() + row * residual.stride(0);
    for (std::int64_t c = 0; c < channels; ++c) {
      float value = (static_cast<float>(from[c]) - means[c]) * factors[c] + biases[c];
      if (added != nullptr) value += static_cast<float>(added[c]);
      to[c] = static_cast<T>(apply_silu ? silu(value) : value);
    }
  }
};

}  // namespace detail

/// Scratch of group_norm: sums per chunk, means and variances per group, three values per channel.
inline std::size_t group_norm_workspace_bytes(std::int64_t positions, std::int64_t channels, std::int64_t groups) {
  return aligned_bytes(byte_count<float>(Extents<2>{ceil_div(positions, detail::group_norm_chunk), groups})) +
         2 * aligned_bytes(byte_count<float>(Extents<1>{groups})) +
         aligned_bytes(byte_count<float>(Extents<2>{3, channels}));
}

/// Group norm over all positions: every group of neighbouring channels has one mean and one variance.
///
/// Computes  y = activation(weight * (x - mean) / sqrt(variance + eps) + bias + residual)
/// Shapes    x, y, residual [positions, C] with contiguous channels; y may be x or residual
/// Memory    group_norm_workspace_bytes
/// Cost      x is read three times
/// Numerics  two passes, sums in fp32 over fixed chunks of positions, the chunks in double
/// Throws    ShapeError, OutOfMemory
/// Source    Wu and He, "Group Normalization", 2018
template <Element T, HasForEach Backend>
void group_norm(Backend& backend, TensorView<const T, 2> x, const GroupNormArguments<T>& arguments, TensorView<T, 2> y,
                Arena& arena) {
  const std::int64_t positions = x.extent(0);
  const std::int64_t channels = x.extent(1);
  const std::int64_t groups = arguments.groups;
  expects(groups >= 1 && channels % groups == 0, "group norm: ", channels, " channels in ", groups, " groups");
  expects(y.extents() == x.extents(), "group norm: x ", extents_text(x.extents()), ", y ", extents_text(y.extents()));
  expects(arguments.residual.empty() || arguments.residual.extents() == x.extents(), "group norm: x ",
          extents_text(x.extents()), ", residual ", extents_text(arguments.residual.extents()));
  expects(arguments.weight.empty() || arguments.weight.size == channels, "group norm: weight of ",
          arguments.weight.size, " elements for ", channels, " channels");
  expects(arguments.bias.empty() || arguments.bias.size == channels, "group norm: bias of ", arguments.bias.size,
          " elements for ", channels, " channels");
  expects(channels == 1 || (x.stride(1) == 1 && y.stride(1) == 1 &&
                            (arguments.residual.empty() || arguments.residual.stride(1) == 1)),
          "group norm: channels are not contiguous");
  if (x.empty()) return;

  const auto scope = arena.scope();
  const std::int64_t chunks = ceil_div(positions, detail::group_norm_chunk);
  const auto sums = arena.take<float, 2>("group norm sums", {chunks, groups});
  const auto means = arena.take<float, 1>("group norm means", {groups});
  const auto variances = arena.take<float, 1>("group norm variances", {groups});
  const auto table = arena.take<float, 2>("group norm channels", {3, channels});
  const std::int64_t bytes = x.size() * std::int64_t{sizeof(T)};
  const OperationCost read{"group norm statistics", 2 * x.size(), bytes};
  const OperationCost small{"group norm statistics", sums.size(), sums.size() * std::int64_t{sizeof(float)}};
  const std::int64_t count = positions * (channels / groups);

  backend.for_each(read, chunks * groups, detail::GroupPartialSums<T>{x, sums, {}});
  backend.for_each(small, groups, detail::GroupMean{sums, means, count});
  backend.for_each(read, chunks * groups, detail::GroupPartialSums<T>{x, sums, means});
  backend.for_each(small, groups, detail::GroupMean{sums, variances, count});
  backend.for_each(small, channels,
                   detail::GroupChannelTable{means, variances, arguments.weight, arguments.bias, arguments.eps, table});
  backend.for_each(OperationCost{"group norm", 6 * x.size(), 2 * bytes}, positions,
                   detail::GroupNormApply<T>{x, table, arguments.residual, arguments.silu, y});
}

}  // namespace ltxmem
