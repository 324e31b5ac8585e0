// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/sse2_stream.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"

/// Row norms on the processor: bound by memory, one pass for the statistics and one to write.
///
/// Memory    buffers on the threads' stacks only
/// Numerics  statistics in fp32, in an order that depends on the row's length alone (row_sum); one rounding to T

namespace ltxmem::cpu {

namespace detail {

inline constexpr std::int64_t most_norm_rows = 256;

/// What a work item reads twice stays in a second-level cache from the first pass to the second.
inline constexpr std::size_t norm_item_bytes = std::size_t{128} << 10;

/// Rows that one work item takes: so many bytes, or fewer where threads would have nothing to do. Rows are independent,
/// so this changes no bit.
template <class T>
std::int64_t norm_rows_per_item(const TensorView<T, 2>& x, const ThreadPool& pool,
                                std::size_t bytes = norm_item_bytes) {
  const std::int64_t fitting = static_cast<std::int64_t>(bytes / sizeof(T)) / std::max<std::int64_t>(x.extent(1), 1);
  return std::clamp<std::int64_t>(std::min(fitting, ceil_div(x.extent(0), pool.threads())), 1, most_norm_rows);
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

/// Whether a row is another one than the last one, which it becomes.
inline bool is_next(const float* row, const float*& last) {
  return std::exchange(last, row) != row;
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
  const std::int64_t item_rows = detail::norm_rows_per_item(x, pool);
  // A residual comes from memory, whose order of reading the processor has to foresee: long rows go one after another.
  const std::int64_t group_rows = arguments.residual.empty() ? item_rows : detail::norm_rows_per_item(x, pool, 8 << 10);
  const bool streams = x.data() != y.data() && byte_count<T>(y.extents()) >= streamed_bytes;

  auto work = [&](std::int64_t item) {
    detail::RowStatistics statistics[detail::most_norm_rows];
    alignas(64) float weight[run_length];
    alignas(64) float scaled[run_length];
    alignas(64) float no_shift[run_length];
    alignas(64) float values[run_length];
    std::fill_n(no_shift, run_length, no_addend);
    // A run of channels of all rows of a group, then the next one: what rows share is made ready once.
    const auto norm_group = [&](std::int64_t first, std::int64_t count) {
      for (std::int64_t n = 0; n < count; ++n) {
        const T* row = x.data() + (first + n) * x.stride(0);
        statistics[n] = detail::row_statistics(arguments.kind, row, channels, arguments.eps);
      }
      for (std::int64_t begin = 0; begin < channels; begin += run_length) {
        const std::int64_t run = std::min(run_length, channels - begin);
        std::fill_n(weight, run, 1.0F);
        if (!arguments.weight.empty()) {
          widen(arguments.weight, begin, run, weight);
          for (std::int64_t c = 0; c < run; ++c) weight[c] += arguments.weight_offset;
        }
        const float* gain = weight;
        const float* shift = no_shift;
        const float* scale = nullptr;
        const auto modulation = [&](std::int64_t token) {
          if (!arguments.scale.empty() && detail::is_next(detail::token_row(arguments.scale, token) + begin, scale)) {
            for (std::int64_t c = 0; c < run; ++c) scaled[c] = weight[c] * (1.0F + scale[c]);
            gain = scaled;
          }
          if (!arguments.shift.empty()) shift = detail::token_row(arguments.shift, token) + begin;
          return [=, of_row = statistics[token - first]](float value, std::int64_t c) {
            return (value - of_row.mean) * of_row.factor * gain[c] + shift[c];
          };
        };
        if (arguments.activation == Activation::none && arguments.residual.empty()) {
          for (std::int64_t token = first; token < first + count; ++token) {
            transform_run(x.data() + token * x.stride(0) + begin, run, y.data() + token * y.stride(0) + begin,
                          modulation(token), streams);
          }
          continue;
        }
        // Short rows share the buffer, so that the loops over it are long ones.
        const std::int64_t together = run_length / run;
        for (std::int64_t token = first; token < first + count; token += together) {
          const std::int64_t tokens = std::min(together, first + count - token);
          for (std::int64_t n = 0; n < tokens; ++n) {
            transform_run(x.data() + (token + n) * x.stride(0) + begin, run, values + n * run, modulation(token + n));
          }
          activate(arguments.activation, values, tokens * run);
          if (!arguments.residual.empty()) {
            for (std::int64_t n = 0; n < tokens; ++n) {
              const T* residual = arguments.residual.data() + (token + n) * arguments.residual.stride(0) + begin;
              for (std::int64_t c = 0; c < run; ++c) values[n * run + c] += static_cast<float>(residual[c]);
            }
          }
          const auto same = [](float value, std::int64_t) { return value; };
          T* to = y.data() + token * y.stride(0) + begin;
          if (y.stride(0) == run) {
            transform_run(values, tokens * run, to, same, streams);
          } else {
            for (std::int64_t n = 0; n < tokens; ++n) {
              transform_run(values + n * run, run, to + n * y.stride(0), same, streams);
            }
          }
        }
      }
    };
    const std::int64_t end = std::min((item + 1) * item_rows, x.extent(0));
    for (std::int64_t first = item * item_rows; first < end; first += group_rows) {
      norm_group(first, std::min(group_rows, end - first));
    }
    if (streams) stream_fence();
  };
  pool.parallel_for(ceil_div(x.extent(0), item_rows),
                    [&](std::int64_t item, int) { with_wide_vectors([&] { work(item); }); });
}

}  // namespace ltxmem::cpu
