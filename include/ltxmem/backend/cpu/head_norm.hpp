// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/norm.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/math/rope.hpp"

/// Norms of queries and keys with their rotary embedding on the processor: bound by memory, or by rounding bfloat16.
///
/// Memory    buffers on the threads' stacks only
/// Numerics  statistics as in norm.hpp; one rounding to T

namespace ltxmem::cpu {

namespace detail {

/// Cosines and sines of slots [begin, begin + count) of one token, in pairs (see order) or as they come. Where `before`
/// is a token and not -1 they are that token's so far: only axes on which the two stand apart are looked up.
inline void slot_angles(const RotaryTable& rotary, std::int64_t token, std::int64_t before, std::int64_t begin,
                        std::int64_t count, bool pairs, float* cosine, float* sine) {
  const std::int64_t still = std::clamp<std::int64_t>(rotary.identity_slots - begin, 0, count);
  const auto place = [&](std::int64_t slot) { return pairs ? slot / 2 + slot % 2 * (count / 2) : slot; };
  for (std::int64_t slot = 0; slot < still && before < 0; ++slot) {
    cosine[place(slot)] = 1.0F;
    sine[place(slot)] = 0.0F;
  }
  const std::int64_t axes = rotary.coordinate.extent(1);
  const std::int64_t phases = pairs ? 2 : 1;  // every second slot of an axis lies in the same half
  for (std::int64_t first = still; first < std::min(count, still + axes); ++first) {
    const std::int64_t index = begin + first - rotary.identity_slots;
    const std::int64_t row = rotary.coordinate(token, index % axes);
    if (before >= 0 && rotary.coordinate(before, index % axes) == row) continue;
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      const float* cosines = rotary.cosine.data() + row * rotary.cosine.stride(0) + index / axes + phase;
      const float* sines = rotary.sine.data() + row * rotary.sine.stride(0) + index / axes + phase;
      const std::int64_t slot = first + phase * axes;
      const std::int64_t slots = ceil_div(std::max<std::int64_t>(count - slot, 0), phases * axes);
      float* to_cosine = cosine + place(slot);
      float* to_sine = sine + place(slot);
      for (std::int64_t i = 0; i < slots; ++i) {
        to_cosine[i * axes] = cosines[i * phases];
        to_sine[i * axes] = sines[i * phases];
      }
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
      widen_weight(head, begin, run, staged_);
      order<T>(staged_, run, weight_);
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
    const std::int64_t count = heads * run;
    const bool pairs = split_ && in_pairs<T>(run);
    const std::int64_t odd = pairs ? count / 2 : 0;
    for (std::int64_t h = 0; h < heads; ++h) {
      float* low = weight_ + (pairs ? h * run / 2 : h * run);
      float* high = low + run_length;
      if (split_) {
        widen_weight(head + h, begin, run, staged_);
        widen_weight(head + h, begin + head_dim_ / 2, run, staged_ + run);
      } else {
        widen_weight(head + h, 2 * begin, 2 * run, staged_);
      }
      for (std::int64_t r = 0; r < run; ++r) {
        const std::int64_t place = pairs ? r / 2 + r % 2 * odd : r;
        low[place] = staged_[split_ ? r : 2 * r];
        high[place] = staged_[split_ ? run + r : 2 * r + 1];
      }
    }
    for (std::int64_t n = 0; n < x_.extent(0); ++n) {
      slot_angles(rotary, n, n - 1, (rotary.per_head ? 0 : rotary.first_slot + head * head_dim_ / 2) + begin, count,
                  pairs, cosine_, sine_);
      for (std::int64_t h = 0; h < heads; ++h) {
        T* elements = row(n) + (head + h) * head_dim_ + (split_ ? begin : 2 * begin);
        const float by = factors_[n];
        if (pairs) {
          rotate_pairs(elements, run, by, h * run / 2, odd);
        } else if (split_) {
          rotate<1>(elements, elements + head_dim_ / 2, run, by, h * run);
        } else {
          rotate<2>(elements, elements + 1, run, by, h * run);
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
    LTXMEM_INDEPENDENT_ITERATIONS
    for (std::int64_t i = 0; i < count; ++i) {
      float a = static_cast<float>(low[i * step]);
      float b = static_cast<float>(high[i * step]);
      turn(a, b, by, place + i);
      low[i * step] = static_cast<T>(a);
      high[i * step] = static_cast<T>(b);
    }
  }

  void rotate_pairs(T* elements, std::int64_t run, float by, std::int64_t place, std::int64_t odd) const {
    if constexpr (in_pairs<T>(0)) {
      T* partners = elements + head_dim_ / 2;
      LTXMEM_INDEPENDENT_ITERATIONS
      for (std::int64_t i = 0; i < run / 2; ++i) {
        auto [a0, a1] = widen_pair(elements + 2 * i);
        auto [b0, b1] = widen_pair(partners + 2 * i);
        turn(a0, b0, by, place + i);
        turn(a1, b1, by, place + i + odd);
        narrow_pair(a0, a1, elements + 2 * i);
        narrow_pair(b0, b1, partners + 2 * i);
      }
    }
  }

  TensorView<T, 2> x_;
  const HeadNormArguments& arguments_;
  std::int64_t head_dim_;
  bool split_;
  float factors_[most_norm_rows];
  float weight_[2 * run_length];  ///< of the first elements of pairs, then of their partners
  float cosine_[run_length];
  float sine_[run_length];
  float staged_[2 * run_length];
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
  const std::int64_t width = x.extent(1);
  const std::int64_t item_rows = detail::norm_rows_per_item(width);
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
  const std::int64_t item_rows = detail::norm_rows_per_item(width);
  pool.parallel_for(ceil_div(x.extent(0), item_rows), [&](std::int64_t item, int) {
    const std::int64_t first = item * item_rows;
    for (std::int64_t token = first; token < std::min(first + item_rows, x.extent(0)); ++token) {
      factors(token) = detail::row_statistics(NormKind::rms, x.data() + token * x.stride(0), width, eps).factor;
    }
  });
}

}  // namespace ltxmem::cpu
