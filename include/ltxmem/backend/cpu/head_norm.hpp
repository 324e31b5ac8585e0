// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/norm.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/math/rope.hpp"

/// Norms of queries and keys with their rotary embedding on the processor: bound by memory.
///
/// Memory    buffers on the threads' stacks only
/// Numerics  statistics as in norm.hpp; one rounding to T

namespace ltxmem::cpu {

namespace detail {

/// to[i] = from[i % axes][i / axes], in whole vectors because the compiler knows the number of axes.
template <std::int64_t axes>
void interleave(const float* const* from, std::int64_t count, float* to) {
  const std::int64_t steps = count / axes;
  LTXMEM_INDEPENDENT_ITERATIONS
  for (std::int64_t i = 0; i < steps; ++i) {
    for (std::int64_t axis = 0; axis < axes; ++axis) to[i * axes + axis] = from[axis][i];
  }
  for (std::int64_t i = steps * axes; i < count; ++i) to[i] = from[i % axes][steps];
}

/// Cosines and sines of slots [begin, begin + count) of one token.
inline void slot_angles(const RotaryTable& rotary, std::int64_t token, std::int64_t begin, std::int64_t count,
                        float* cosine, float* sine) {
  const std::int64_t still = std::clamp<std::int64_t>(rotary.identity_slots - begin, 0, count);
  std::fill_n(cosine, still, 1.0F);
  std::fill_n(sine, still, 0.0F);
  const std::int64_t axes = rotary.coordinate.extent(1);
  const auto look_up = [&](const TensorView<const float, 2>& table, std::int64_t slots, float* to) {
    // Every axes-th slot stands for the next frequency of the same axis.
    const auto frequencies = [&](std::int64_t slot) {
      const std::int64_t index = begin + still - rotary.identity_slots + slot;
      return table.data() + rotary.coordinate(token, index % axes) * table.stride(0) + index / axes;
    };
    constexpr std::int64_t video_axes = 3;
    if (axes == video_axes && slots >= axes) {
      const float* from[video_axes];
      for (std::int64_t axis = 0; axis < axes; ++axis) from[axis] = frequencies(axis);
      return interleave<video_axes>(from, slots, to);
    }
    for (std::int64_t first = 0; first < std::min(axes, slots); ++first) {
      const float* from = frequencies(first);
      for (std::int64_t slot = first; slot < slots; slot += axes) to[slot] = *from++;
    }
  };
  look_up(rotary.cosine, count - still, cosine + still);
  look_up(rotary.sine, count - still, sine + still);
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

/// The rows of one work item of head_norm: some heads of all rows, then the next ones, so that what rows share is made
/// ready once. Slot r of a head is the pair of elements r * step and r * step + partner, as in RotaryLayout.
template <Element T>
class HeadNormItem {
 public:
  HeadNormItem(TensorView<T, 2> x, const HeadNormArguments& arguments)
      : x_(x),
        arguments_(arguments),
        head_dim_(x.extent(1) / arguments.heads),
        split_(arguments.rotary.layout == RotaryLayout::split) {
    for (std::int64_t n = 0; n < x.extent(0); ++n) {
      if (!arguments.row_factors.empty()) {
        factors_[n] = arguments.row_factors(n);
      } else if (!arguments.per_head) {
        factors_[n] = row_statistics(arguments.kind, row(n), x.extent(1), arguments.eps).factor;
      }
    }
  }

  void operator()() {
    const bool rotates = !arguments_.rotary.empty();
    const bool single = arguments_.per_head || arguments_.rotary.per_head || !rotates;
    const std::int64_t slots = head_dim_ / 2;
    const std::int64_t group = single ? 1 : std::max<std::int64_t>(1, run_length / slots);
    for (std::int64_t head = 0; head < arguments_.heads; head += group) {
      for (std::int64_t n = 0; arguments_.per_head && n < x_.extent(0); ++n) {
        factors_[n] = row_statistics(arguments_.kind, row(n) + head * head_dim_, head_dim_, arguments_.eps).factor;
      }
      if (!rotates) scale_head(head);
      for (std::int64_t begin = 0; rotates && begin < slots; begin += run_length) {
        rotate_heads(head, std::min(group, arguments_.heads - head), begin, std::min(run_length, slots - begin));
      }
    }
  }

 private:
  T* row(std::int64_t n) const { return x_.data() + n * x_.stride(0); }

  /// Factors of elements [begin, begin + count) of a head.
  void widen_weight(std::int64_t head, std::int64_t begin, std::int64_t count, float* to) const {
    if (arguments_.weight.empty()) {
      std::fill_n(to, count, 1.0F);
      return;
    }
    widen(arguments_.weight, (arguments_.per_head ? 0 : head * head_dim_) + begin, count, to);
    for (std::int64_t i = 0; i < count; ++i) to[i] += arguments_.weight_offset;
  }

  void scale_head(std::int64_t head) {
    for (std::int64_t begin = 0; begin < head_dim_; begin += run_length) {
      const std::int64_t run = std::min(run_length, head_dim_ - begin);
      widen_weight(head, begin, run, weight_);
      for (std::int64_t n = 0; n < x_.extent(0); ++n) {
        T* elements = row(n) + head * head_dim_ + begin;
        transform_run(elements, run, elements,
                      [this, by = factors_[n]](float x, std::int64_t i) { return x * by * weight_[i]; });
      }
    }
  }

  /// Slots [begin, begin + run) of some heads. Several heads are whole ones: their slots follow one another.
  void rotate_heads(std::int64_t head, std::int64_t heads, std::int64_t begin, std::int64_t run) {
    const RotaryTable& rotary = arguments_.rotary;
    for (std::int64_t h = 0; h < heads; ++h) {
      float* low = weight_ + h * run;
      float* high = low + run_length;
      if (split_) {
        widen_weight(head + h, begin, run, low);
        widen_weight(head + h, begin + head_dim_ / 2, run, high);
      } else {
        widen_weight(head + h, 2 * begin, 2 * run, staged_);
        for (std::int64_t r = 0; r < run; ++r) {
          low[r] = staged_[2 * r];
          high[r] = staged_[2 * r + 1];
        }
      }
    }
    for (std::int64_t n = 0; n < x_.extent(0); ++n) {
      slot_angles(rotary, n, (rotary.per_head ? 0 : rotary.first_slot + head * head_dim_ / 2) + begin, heads * run,
                  cosine_, sine_);
      for (std::int64_t h = 0; h < heads; ++h) {
        T* elements = row(n) + (head + h) * head_dim_ + (split_ ? begin : 2 * begin);
        if (split_) {
          rotate<1>(elements, elements + head_dim_ / 2, run, factors_[n], h * run);
        } else {
          rotate<2>(elements, elements + 1, run, factors_[n], h * run);
        }
      }
    }
  }

  /// Scales and turns one pair, whose factors and angle are at `place`.
  void turn(float& low, float& high, float by, std::int64_t place) const {
    low = low * by * weight_[place];
    high = high * by * weight_[run_length + place];
    rotate_pair(low, high, cosine_[place], sine_[place]);
  }

  template <std::int64_t step>
  void rotate(T* low, T* high, std::int64_t count, float by, std::int64_t place) const {
    std::int64_t i = 0;
    if constexpr (step == 1 && std::is_same_v<T, bfloat16>) {
      const std::int64_t blocks = rounds_bfloat16 ? count / rounded_floats : 0;
      for (; i < blocks * rounded_floats; i += rounded_floats) {
        float a[rounded_floats];
        float b[rounded_floats];
        widen_run(low + i, rounded_floats, a);
        widen_run(high + i, rounded_floats, b);
        for (std::int64_t k = 0; k < rounded_floats; ++k) turn(a[k], b[k], by, place + i + k);
        round_run(a, rounded_floats, low + i);
        round_run(b, rounded_floats, high + i);
      }
    }
    LTXMEM_INDEPENDENT_ITERATIONS
    for (; i < count; ++i) {
      float a = static_cast<float>(low[i * step]);
      float b = static_cast<float>(high[i * step]);
      turn(a, b, by, place + i);
      low[i * step] = static_cast<T>(a);
      high[i * step] = static_cast<T>(b);
    }
  }

  TensorView<T, 2> x_;
  const HeadNormArguments& arguments_;
  std::int64_t head_dim_;
  bool split_;
  float factors_[most_norm_rows];
  alignas(64) float weight_[2 * run_length];  ///< of the first elements of pairs, then of their partners
  alignas(64) float cosine_[run_length];
  alignas(64) float sine_[run_length];
  alignas(64) float staged_[2 * run_length];
};

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
  const std::int64_t item_rows = detail::norm_rows_per_item(x, pool);
  pool.parallel_for(ceil_div(x.extent(0), item_rows), [&](std::int64_t item, int) {
    with_wide_vectors([&] {
      const std::int64_t first = item * item_rows;
      const std::int64_t count = std::min(item_rows, x.extent(0) - first);
      HeadNormArguments part = arguments;
      part.rotary = arguments.rotary.tokens(first, count);
      if (!part.row_factors.empty()) part.row_factors = part.row_factors.slice(0, first, count);
      detail::HeadNormItem<T>(x.rows(first, count), part)();
    });
  });
}

/// factors [N] = 1 / sqrt(mean of squares of the row + eps): what head_norm of kind rms multiplies whole rows by.
///
/// Throws    ShapeError, Cancelled
template <Element T>
void head_norm_factors(ThreadPool& pool, TensorView<const T, 2> x, float eps, TensorView<float, 1> factors) {
  ltxmem::detail::check_head_norm_factors(x, factors);
  const std::int64_t width = x.extent(1);
  const std::int64_t item_rows = detail::norm_rows_per_item(x, pool);
  pool.parallel_for(ceil_div(x.extent(0), item_rows), [&](std::int64_t item, int) {
    const std::int64_t first = item * item_rows;
    for (std::int64_t token = first; token < std::min(first + item_rows, x.extent(0)); ++token) {
      factors(token) = detail::row_statistics(NormKind::rms, x.data() + token * x.stride(0), width, eps).factor;
    }
  });
}

}  // namespace ltxmem::cpu
