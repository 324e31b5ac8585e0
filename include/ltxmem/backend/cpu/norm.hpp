// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/math/rope.hpp"

/// Row norms on the processor: bound by memory, one pass for the statistics and one to write.
///
/// Memory    buffers on the threads' stacks only
/// Numerics  statistics in fp32, in an order that depends on the row's length alone (row_sum); one rounding to T

namespace ltxmem::cpu {

namespace detail {

/// Rows that one work item takes: enough elements to be worth handing out. Rows are independent, so this changes no
/// bit.
inline std::int64_t norm_rows_per_item(std::int64_t channels) {
  constexpr std::int64_t elements = 32768;
  constexpr std::int64_t most_rows = 256;
  return std::clamp<std::int64_t>(elements / std::max<std::int64_t>(channels, 1), 1, most_rows);
}

struct RowStatistics {
  float mean = 0.0F;
  float factor = 1.0F;
};

template <class T>
RowStatistics row_statistics(NormKind kind, const T* row, std::int64_t count, float eps) {
  const auto n = static_cast<float>(count);
  switch (kind) {
    case NormKind::none: break;
    case NormKind::rms: {
      const float mean_square = row_sum(row, count, [](float x) { return x * x; }) / n;
      return {0.0F, 1.0F / std::sqrt(mean_square + eps)};
    }
    case NormKind::layer: {
      const float mean = row_sum(row, count, [](float x) { return x; }) / n;
      const float variance = row_sum(row, count, [mean](float x) { return (x - mean) * (x - mean); }) / n;
      return {mean, 1.0F / std::sqrt(variance + eps)};
    }
  }
  return {};
}

/// The row that a token uses.
inline const float* token_row(const TokenRows& rows, std::int64_t token) {
  const std::int64_t row = rows.index.empty() ? 0 : rows.index(token);
  return rows.rows.data() + row * rows.rows.stride(0);
}

}  // namespace detail

/// y = residual + activation((weight_offset + weight) * norm(x) * (1 + scale) + shift), per row; see NormArguments.
///
/// Shapes    x, y, residual [N, D]; y may be x or residual
/// Throws    ShapeError, Cancelled
template <Element T>
void norm(ThreadPool& pool, TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
  ltxmem::detail::check_norm(x, arguments, y);
  check_row_numbers("norm", "scale", arguments.scale);
  check_row_numbers("norm", "shift", arguments.shift);
  if (x.empty()) return;
  const std::int64_t channels = x.extent(1);
  const std::int64_t item_rows = detail::norm_rows_per_item(channels);

  auto work = [&](std::int64_t item) {
    const std::int64_t first = item * item_rows;
    const std::int64_t count = std::min(item_rows, x.extent(0) - first);
    float weight[run_length];
    float values[run_length];
    for (std::int64_t token = first; token < first + count; ++token) {
      const T* row = x.data() + token * x.stride(0);
      const auto [mean, factor] = detail::row_statistics(arguments.kind, row, channels, arguments.eps);
      for (std::int64_t begin = 0; begin < channels; begin += run_length) {
        const std::int64_t run = std::min(run_length, channels - begin);
        for (std::int64_t c = 0; c < run; ++c) values[c] = (static_cast<float>(row[begin + c]) - mean) * factor;
        if (!arguments.weight.empty()) {
          widen(arguments.weight, begin, run, weight);
          for (std::int64_t c = 0; c < run; ++c) values[c] *= weight[c] + arguments.weight_offset;
        }
        if (!arguments.scale.empty()) {
          const float* scale = detail::token_row(arguments.scale, token) + begin;
          for (std::int64_t c = 0; c < run; ++c) values[c] *= 1.0F + scale[c];
        }
        if (!arguments.shift.empty()) {
          const float* shift = detail::token_row(arguments.shift, token) + begin;
          for (std::int64_t c = 0; c < run; ++c) values[c] += shift[c];
        }
        activate(arguments.activation, values, run);
        if (!arguments.residual.empty()) {
          const T* residual = arguments.residual.data() + token * arguments.residual.stride(0) + begin;
          for (std::int64_t c = 0; c < run; ++c) values[c] += static_cast<float>(residual[c]);
        }
        narrow(values, run, y.data() + token * y.stride(0) + begin);
      }
    }
  };
  pool.parallel_for(ceil_div(x.extent(0), item_rows),
                    [&](std::int64_t item, int) { with_wide_vectors([&] { work(item); }); });
}

namespace detail {

/// Cosines and sines of slots [begin, begin + count) of one token.
inline void slot_angles(const RotaryTable& rotary, std::int64_t token, std::int64_t begin, std::int64_t count,
                        float* cosine, float* sine) {
  const std::int64_t still = std::clamp<std::int64_t>(rotary.identity_slots - begin, 0, count);
  std::fill(cosine, cosine + still, 1.0F);
  std::fill(sine, sine + still, 0.0F);
  const std::int64_t axes = rotary.coordinate.extent(1);
  for (std::int64_t first = still; first < std::min(count, still + axes); ++first) {
    const std::int64_t index = begin + first - rotary.identity_slots;
    const std::int64_t row = rotary.coordinate(token, index % axes);
    const float* cosines = rotary.cosine.data() + row * rotary.cosine.stride(0) + index / axes;
    const float* sines = rotary.sine.data() + row * rotary.sine.stride(0) + index / axes;
    for (std::int64_t slot = first; slot < count; slot += axes) {
      cosine[slot] = *cosines++;
      sine[slot] = *sines++;
    }
  }
}

/// Throws ShapeError unless every token stands at a row of the tables on every axis.
inline void check_coordinates(const RotaryTable& rotary) {
  const TensorView<const std::int32_t, 2>& coordinate = rotary.coordinate;
  if (rotary.empty()) return;
  for (std::int64_t n = 0; n < coordinate.extent(0); ++n) {
    for (std::int64_t axis = 0; axis < coordinate.extent(1); ++axis) {
      expects(coordinate(n, axis) >= 0 && coordinate(n, axis) < rotary.cosine.extent(0), "head norm: token ", n,
              " stands at row ", coordinate(n, axis), " of rotary tables with ", rotary.cosine.extent(0));
    }
  }
}

}  // namespace detail

/// x <- rotate(norm(x) * (weight_offset + weight)), in place; see HeadNormArguments.
///
/// Shapes    x [N, heads * head_dim]
/// Throws    ShapeError, Cancelled
template <Element T>
void head_norm(ThreadPool& pool, TensorView<T, 2> x, const HeadNormArguments& arguments) {
  ltxmem::detail::check_head_norm(x, arguments);
  detail::check_coordinates(arguments.rotary);
  if (x.empty()) return;
  const std::int64_t width = x.extent(1);
  const std::int64_t head_dim = width / arguments.heads;
  const RotaryTable& rotary = arguments.rotary;
  const std::int64_t item_rows = detail::norm_rows_per_item(width);

  // Slot r of a head is the pair of elements r * step and r * step + partner, as in RotaryLayout.
  const bool split = rotary.layout == RotaryLayout::split;
  const std::int64_t step = split ? 1 : 2;
  const std::int64_t partner = split ? head_dim / 2 : 1;

  // Elements first, first + stride, ... of a head: normalised, weighted, in fp32.
  const auto load = [&](const T* row, std::int64_t head, std::int64_t first, std::int64_t stride, std::int64_t count,
                        float factor, float* values) {
    const T* elements = row + head * head_dim + first;
    for (std::int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(elements[i * stride]) * factor;
    if (arguments.weight.empty()) return;
    with_floating_type(arguments.weight.dtype, [&](auto* type) {
      const auto* weight =
          reinterpret_cast<decltype(type)>(arguments.weight.data) + (arguments.per_head ? 0 : head * head_dim) + first;
      for (std::int64_t i = 0; i < count; ++i) {
        values[i] *= arguments.weight_offset + static_cast<float>(weight[i * stride]);
      }
    });
  };

  auto work = [&](std::int64_t item) {
    float low[run_length];
    float high[run_length];
    float cosine[run_length];
    float sine[run_length];
    const std::int64_t first = item * item_rows;
    for (std::int64_t token = first; token < std::min(first + item_rows, x.extent(0)); ++token) {
      T* row = x.data() + token * x.stride(0);
      float factor =
          arguments.row_factors.empty()
              ? detail::row_statistics(arguments.per_head ? NormKind::none : arguments.kind, row, width, arguments.eps)
                    .factor
              : arguments.row_factors(token);
      for (std::int64_t head = 0; head < arguments.heads; ++head) {
        if (arguments.per_head) {
          factor = detail::row_statistics(arguments.kind, row + head * head_dim, head_dim, arguments.eps).factor;
        }
        if (rotary.empty()) {
          for (std::int64_t begin = 0; begin < head_dim; begin += run_length) {
            const std::int64_t run = std::min(run_length, head_dim - begin);
            load(row, head, begin, 1, run, factor, low);
            narrow(low, run, row + head * head_dim + begin);
          }
          continue;
        }
        for (std::int64_t begin = 0; begin < head_dim / 2; begin += run_length) {
          const std::int64_t run = std::min(run_length, head_dim / 2 - begin);
          const std::int64_t slot = (rotary.per_head ? 0 : rotary.first_slot + head * head_dim / 2) + begin;
          detail::slot_angles(rotary, token, slot, run, cosine, sine);
          load(row, head, begin * step, step, run, factor, low);
          load(row, head, begin * step + partner, step, run, factor, high);
          for (std::int64_t i = 0; i < run; ++i) rotate_pair(low[i], high[i], cosine[i], sine[i]);
          T* pairs = row + head * head_dim + begin * step;
          for (std::int64_t i = 0; i < run; ++i) pairs[i * step] = static_cast<T>(low[i]);
          for (std::int64_t i = 0; i < run; ++i) pairs[i * step + partner] = static_cast<T>(high[i]);
        }
      }
    }
  };
  pool.parallel_for(ceil_div(x.extent(0), item_rows),
                    [&](std::int64_t item, int) { with_wide_vectors([&] { work(item); }); });
}

/// factors [N] = 1 / sqrt(mean of squares of the row + eps): what head_norm of kind rms multiplies whole rows by.
///
/// Throws    ShapeError, Cancelled
template <Element T>
void head_norm_factors(ThreadPool& pool, TensorView<const T, 2> x, float eps, TensorView<float, 1> factors) {
  ltxmem::detail::check_head_norm_factors(x, factors);
  const std::int64_t width = x.extent(1);
  const std::int64_t item_rows = detail::norm_rows_per_item(width);
  pool.parallel_for(ceil_div(x.extent(0), item_rows), [&](std::int64_t item, int) {
    const std::int64_t first = item * item_rows;
    for (std::int64_t token = first; token < std::min(first + item_rows, x.extent(0)); ++token) {
      factors(token) = detail::row_statistics(NormKind::rms, x.data() + token * x.stride(0), width, eps).factor;
    }
  });
}

}  // namespace ltxmem::cpu
