// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

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

/// Mean, and sum of squared differences from it, of one chunk of positions and one group of channels.
template <class T>
struct GroupChunkMoments {
  TensorView<const T, 2> x;
  TensorView<float, 3> moments;  ///< [chunks, groups, 2]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const std::int64_t groups = moments.extent(1);
    const std::int64_t chunk = index / groups;
    const std::int64_t group = index % groups;
    const float mean = sum(chunk, group, [](float value) { return value; }) / count(chunk);
    // The mean is rounded: what the differences from it add up to corrects both moments.
    const float rest = sum(chunk, group, [mean](float value) { return value - mean; });
    const float squares = sum(chunk, group, [mean](float value) { return (value - mean) * (value - mean); });
    moments(chunk, group, 0) = mean + rest / count(chunk);
    moments(chunk, group, 1) = squares - rest * rest / count(chunk);
  }

 private:
  LTXMEM_HOST_DEVICE std::int64_t end(std::int64_t chunk) const {
    return x.extent(0) < (chunk + 1) * group_norm_chunk ? x.extent(0) : (chunk + 1) * group_norm_chunk;
  }
  LTXMEM_HOST_DEVICE float count(std::int64_t chunk) const {
    return static_cast<float>((end(chunk) - chunk * group_norm_chunk) * (x.extent(1) / moments.extent(1)));
  }
  template <class Term>
  LTXMEM_HOST_DEVICE float sum(std::int64_t chunk, std::int64_t group, Term term) const {
    const std::int64_t width = x.extent(1) / moments.extent(1);
    float sum = 0.0F;
    for (std::int64_t row = chunk * group_norm_chunk; row < end(chunk); ++row) {
      const T* values = x.data() + row * x.stride(0) + group * width;
      float row_sum = 0.0F;
      for (std::int64_t i = 0; i < width; ++i) row_sum += term(static_cast<float>(values[i]));
      sum += row_sum;
    }
    return sum;
  }
};

/// Mean and variance of a group from the moments of its chunks, which pieces of equal length were cut into.
struct GroupMoments {
  TensorView<const float, 3> moments;  ///< [chunks of all pieces, groups, 2]
  std::int64_t piece;                  ///< positions of a piece
  std::int64_t width;                  ///< channels of a group
  TensorView<float, 1> means;
  TensorView<float, 1> variances;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t group) const {
    const std::int64_t chunks_of_piece = (piece + group_norm_chunk - 1) / group_norm_chunk;
    double count = 0.0;
    double mean = 0.0;
    double squares = 0.0;
    for (std::int64_t chunk = 0; chunk < moments.extent(0); ++chunk) {
      const std::int64_t left = piece - chunk % chunks_of_piece * group_norm_chunk;
      const double added = static_cast<double>((left < group_norm_chunk ? left : group_norm_chunk) * width);
      const double difference = static_cast<double>(moments(chunk, group, 0)) - mean;
      const double share = added / (count + added);
      squares += static_cast<double>(moments(chunk, group, 1)) + difference * difference * count * share;
      mean += difference * share;
      count += added;
    }
    means(group) = static_cast<float>(mean);
    variances(group) = static_cast<float>(squares / count);
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

template <class T>
void check_group_norm_channels(std::int64_t channels, const GroupNormArguments<T>& arguments) {
  expects(arguments.groups >= 1 && channels % arguments.groups == 0, "group norm: ", channels, " channels in ",
          arguments.groups, " groups");
  expects(arguments.weight.empty() || arguments.weight.size == channels, "group norm: weight of ",
          arguments.weight.size, " elements for ", channels, " channels");
  expects(arguments.bias.empty() || arguments.bias.size == channels, "group norm: bias of ", arguments.bias.size,
          " elements for ", channels, " channels");
}

template <class T>
void check_group_norm_rows(TensorView<const T, 2> x, TensorView<const T, 2> residual, TensorView<T, 2> y) {
  expects(y.extents() == x.extents(), "group norm: x ", extents_text(x.extents()), ", y ", extents_text(y.extents()));
  expects(residual.empty() || residual.extents() == x.extents(), "group norm: x ", extents_text(x.extents()),
          ", residual ", extents_text(residual.extents()));
  expects(x.extent(1) == 1 || (x.stride(1) == 1 && y.stride(1) == 1 && (residual.empty() || residual.stride(1) == 1)),
          "group norm: channels are not contiguous");
}

}  // namespace detail

/// How many chunks the first pass cuts a piece of so many positions into.
constexpr std::int64_t group_norm_chunks(std::int64_t positions) {
  return ceil_div(positions, detail::group_norm_chunk);
}

/// Scratch of group_norm: two moments per chunk and group, means and variances per group, three values per channel.
inline std::size_t group_norm_workspace_bytes(std::int64_t positions, std::int64_t channels, std::int64_t groups) {
  return aligned_bytes(byte_count<float>(Extents<3>{group_norm_chunks(positions), groups, 2})) +
         2 * aligned_bytes(byte_count<float>(Extents<1>{groups})) +
         aligned_bytes(byte_count<float>(Extents<2>{3, channels}));
}

/// First pass of a group norm: the moments of x, which may be one of several pieces of equal length.
///
/// Shapes    x [positions, C] with contiguous channels, moments [group_norm_chunks(positions), groups, 2]
/// Numerics  corrected two-pass sums in fp32 over fixed chunks of positions
/// Source    Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983, (1.7)
template <Element T, HasForEach Backend>
void group_norm_moments(Backend& backend, TensorView<const T, 2> x, TensorView<float, 3> moments) {
  expects(moments.extent(1) >= 1 && x.extent(1) % moments.extent(1) == 0, "group norm: ", x.extent(1), " channels in ",
          moments.extent(1), " groups");
  expects(moments.extent(0) == group_norm_chunks(x.extent(0)), "group norm: moments of ", moments.extent(0),
          " chunks, ", x.extent(0), " positions have ", group_norm_chunks(x.extent(0)));
  expects(x.extent(1) == 1 || x.stride(1) == 1, "group norm: channels are not contiguous");
  backend.for_each(OperationCost{"group norm statistics", 5 * x.size(), x.size() * std::int64_t{sizeof(T)}},
                   moments.extent(0) * moments.extent(1), detail::GroupChunkMoments<T>{x, moments});
}

/// Between the passes: what the channels are normalised with, from the moments of all pieces.
///
/// Shapes    moments [chunks of all pieces, groups, 2], table [3, C]; piece: positions of each piece
/// Memory    two values per group in the arena
/// Numerics  chunks are merged in double, in order
/// Source    Chan, Golub and LeVeque, (2.1)
template <Element T, HasForEach Backend>
void group_norm_table(Backend& backend, TensorView<const float, 3> moments, std::int64_t piece,
                      const GroupNormArguments<T>& arguments, TensorView<float, 2> table, Arena& arena) {
  const std::int64_t channels = table.extent(1);
  const std::int64_t groups = arguments.groups;
  detail::check_group_norm_channels(channels, arguments);
  expects(moments.extent(1) == groups && moments.extent(0) % group_norm_chunks(piece) == 0, "group norm: moments ",
          extents_text(moments.extents()), " for ", groups, " groups and pieces of ", piece, " positions");
  const auto scope = arena.scope();
  const auto means = arena.take<float, 1>("group norm means", {groups});
  const auto variances = arena.take<float, 1>("group norm variances", {groups});
  const OperationCost small{"group norm statistics", 10 * moments.size(), moments.size() * std::int64_t{sizeof(float)}};
  backend.for_each(small, groups, detail::GroupMoments{moments, piece, channels / groups, means, variances});
  backend.for_each(small, channels,
                   detail::GroupChannelTable{means, variances, arguments.weight, arguments.bias, arguments.eps, table});
}

/// Second pass: y = activation(norm(x) + residual) with the channels' table; y may be x or residual.
template <Element T, HasForEach Backend>
void group_norm_apply(Backend& backend, TensorView<const T, 2> x, TensorView<const float, 2> table,
                      const GroupNormArguments<T>& arguments, TensorView<T, 2> y) {
  detail::check_group_norm_rows(x, arguments.residual, y);
  backend.for_each(OperationCost{"group norm", 6 * x.size(), 2 * x.size() * std::int64_t{sizeof(T)}}, x.extent(0),
                   detail::GroupNormApply<T>{x, table, arguments.residual, arguments.silu, y});
}

/// Group norm over all positions: every group of neighbouring channels has one mean and one variance. Where not all
/// positions are there at once, the passes above do the same piece by piece.
///
/// Computes  y = activation(weight * (x - mean) / sqrt(variance + eps) + bias + residual)
/// Shapes    x, y, residual [positions, C] with contiguous channels; y may be x or residual
/// Memory    group_norm_workspace_bytes
/// Numerics  see the passes; a result depends on how positions are cut into pieces, and on nothing else
/// Throws    ShapeError, OutOfMemory
/// Source    Wu and He, "Group Normalization", 2018
template <Element T, HasForEach Backend>
void group_norm(Backend& backend, TensorView<const T, 2> x, const GroupNormArguments<T>& arguments, TensorView<T, 2> y,
                Arena& arena) {
  const std::int64_t positions = x.extent(0);
  const std::int64_t groups = arguments.groups;
  detail::check_group_norm_channels(x.extent(1), arguments);
  detail::check_group_norm_rows(x, arguments.residual, y);
  if (x.empty()) return;
  const auto scope = arena.scope();
  const auto moments = arena.take<float, 3>("group norm moments", {group_norm_chunks(positions), groups, 2});
  const auto table = arena.take<float, 2>("group norm channels", {3, x.extent(1)});
  group_norm_moments(backend, x, moments);
  group_norm_table(backend, moments, positions, arguments, table, arena);
  group_norm_apply(backend, x, table, arguments, y);
}

}  // namespace ltxmem
