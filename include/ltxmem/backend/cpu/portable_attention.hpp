// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "ltxmem/backend/cpu/attention_kernel.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/tensor_view.hpp"

namespace ltxmem {

/// Attention kernel for any processor: four-lane vectors as GCC and Clang know them on every target, no library call.
///
/// Both products run through one register tile of row_group x lanes sums. Keys are packed in panels of `lanes`, a panel
/// being [head_dim][lanes], so that vectors run over keys; values stay rows, so that vectors run over channels.
struct PortableAttention {
  static constexpr std::int64_t row_group = cpu::attention_row_group;
  static constexpr std::int64_t lanes = 8;

  template <Element T>
  static void pack_queries(TensorView<const T, 2> queries, float scale, float* packed) {
    cpu::pack_scaled_queries(queries, scale, packed);
  }

  template <Element T>
  static void pack_keys(TensorView<const T, 2> keys, float* packed) {
    const std::int64_t head_dim = keys.extent(1);
    for (std::int64_t panel = 0; panel < key_quantum / lanes; ++panel) {
      float* to = packed + panel * lanes * head_dim;
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        const std::int64_t key = panel * lanes + lane;
        if (key < keys.extent(0)) {
          const T* from = keys.data() + key * keys.stride(0);
          for (std::int64_t d = 0; d < head_dim; ++d) to[d * lanes + lane] = static_cast<float>(from[d]);
        } else {
          for (std::int64_t d = 0; d < head_dim; ++d) to[d * lanes + lane] = 0.0F;
        }
      }
    }
  }

  template <Element T>
  static void pack_values(TensorView<const T, 2> values, std::int64_t width, float* packed) {
    for (std::int64_t key = 0; key < values.extent(0); ++key) {
      const T* from = values.data() + key * values.stride(0);
      float* to = packed + key * width;
      for (std::int64_t d = 0; d < values.extent(1); ++d) to[d] = static_cast<float>(from[d]);
      for (std::int64_t d = values.extent(1); d < width; ++d) to[d] = 0.0F;
    }
  }

  template <Element>
  static void append(const cpu::AttentionQuantum& quantum) {
    for (std::int64_t row = 0; row < quantum.rows; row += row_group) {
      score(quantum, quantum.queries + row * quantum.head_dim);
      if (quantum.hides) cpu::mask_scores(quantum, row, row_group, log2_e);
      float rescale[row_group];
      for (std::int64_t r = 0; r < row_group; ++r) {
        rescale[r] = softmax_row(quantum.scores + r * key_quantum, quantum.maximum[row + r], quantum.sum[row + r]);
      }
      accumulate(quantum, rescale, quantum.accumulator + row * quantum.padded_head_dim);
    }
  }

 private:
  using Vector [[gnu::vector_size(16)]] = float;
  using RowIndices = std::make_index_sequence<static_cast<std::size_t>(row_group)>;

  /// row_group x lanes sums. Every access has constant indices (folds over R, no loop), or compilers keep the sums in
  /// memory.
  struct Tile {
    Vector low[row_group];
    Vector high[row_group];

    template <std::size_t... R>
    void load(const float* from, std::int64_t stride, const float* factor, std::index_sequence<R...>) {
      ((std::memcpy(&low[R], from + static_cast<std::int64_t>(R) * stride, sizeof(Vector)),
        std::memcpy(&high[R], from + static_cast<std::int64_t>(R) * stride + lanes / 2, sizeof(Vector)),
        low[R] *= factor[R], high[R] *= factor[R]),
       ...);
    }

    template <std::size_t... R>
    void store(float* to, std::int64_t stride, std::index_sequence<R...>) const {
      ((std::memcpy(to + static_cast<std::int64_t>(R) * stride, &low[R], sizeof(Vector)),
        std::memcpy(to + static_cast<std::int64_t>(R) * stride + lanes / 2, &high[R], sizeof(Vector))),
       ...);
    }

    /// Adds the sum over steps of a[step, row] * b[step, lane].
    template <std::size_t... R>
    void add_products(const float* a, std::int64_t step_stride, std::int64_t row_stride, const float* b,
                      std::int64_t b_stride, std::int64_t steps, std::index_sequence<R...>) {
      for (std::int64_t step = 0; step < steps; ++step, a += step_stride, b += b_stride) {
        Vector b_low;
        Vector b_high;
        std::memcpy(&b_low, b, sizeof(Vector));
        std::memcpy(&b_high, b + lanes / 2, sizeof(Vector));
        ((low[R] += a[static_cast<std::int64_t>(R) * row_stride] * b_low,
          high[R] += a[static_cast<std::int64_t>(R) * row_stride] * b_high),
         ...);
      }
    }
  };

  /// scores [row_group][key_quantum] = q . k
  static void score(const cpu::AttentionQuantum& quantum, const float* queries) {
    for (std::int64_t key = 0; key < quantum.keys_count; key += lanes) {
      Tile tile{};
      tile.add_products(queries, 1, quantum.head_dim, quantum.keys + key * quantum.head_dim, lanes, quantum.head_dim,
                        RowIndices{});
      tile.store(quantum.scores + key, key_quantum, RowIndices{});
    }
  }

  /// Turns the scores of one row into 2^(score - maximum), updates its state and returns the factor of what was
  /// accumulated before.
  static float softmax_row(float* scores, float& maximum, float& sum) {
    float highest[lanes];
    for (float& lane : highest) lane = -std::numeric_limits<float>::infinity();
    for (std::int64_t key = 0; key < key_quantum; key += lanes) {
      for (std::int64_t l = 0; l < lanes; ++l) {
        highest[l] = highest[l] < scores[key + l] ? scores[key + l] : highest[l];
      }
    }
    float row_maximum = highest[0];
    for (const float lane : highest) row_maximum = row_maximum < lane ? lane : row_maximum;

    const SoftmaxState before{maximum, sum};
    const float base = softmax_base(maximum < row_maximum ? row_maximum : maximum);
    float sums[lanes] = {};
    for (std::int64_t key = 0; key < key_quantum; key += lanes) {
      for (std::int64_t l = 0; l < lanes; ++l) {
        scores[key + l] = exp2_nonpositive(scores[key + l] - base);
        sums[l] += scores[key + l];
      }
    }
    float row_sum = 0.0F;
    for (const float lane : sums) row_sum += lane;
    const SoftmaxState after = softmax_append(before, row_maximum, row_sum);
    maximum = after.maximum;
    sum = after.sum;
    return softmax_rescale(before.maximum, after.maximum);
  }

  /// accumulator = rescale * accumulator + p . v
  static void accumulate(const cpu::AttentionQuantum& quantum, const float* rescale, float* accumulator) {
    const std::int64_t stride = quantum.padded_head_dim;
    for (std::int64_t column = 0; column < stride; column += lanes) {
      Tile tile;
      tile.load(accumulator + column, stride, rescale, RowIndices{});
      tile.add_products(quantum.scores, 1, key_quantum, quantum.values + column, stride, quantum.keys_count,
                        RowIndices{});
      tile.store(accumulator + column, stride, RowIndices{});
    }
  }
};

}  // namespace ltxmem
