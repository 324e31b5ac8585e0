// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/math/softmax_state.hpp"

/// What an attention kernel of the CPU works on, and the part of the work that all kernels share.
///
/// A kernel K is a type without state of its own, with
///   K::pack_queries(queries, scale, packed)    brings rows of one head, [N, head_dim], into the kernel's own order: at
///                                              most head_dim floats for each of N rows and of the missing ones of its
///                                              last group, which become zeros. scale turns products into logits in
///                                              base 2
///   K::pack_keys(keys, packed)                 up to key_quantum keys of one head: at most key_quantum * head_dim
///                                              floats
///   K::pack_values(values, width, packed)      their values: at most key_quantum * width floats, width >= head_dim
///   K::append<T>(quantum)                      the state of every row after also seeing the quantum
/// T is the element type that was packed. Scratch belongs to the caller and is aligned to 64 bytes.

namespace ltxmem::cpu {

/// Head dimensions are padded to whole vectors of the widest kernel, in floats.
inline constexpr std::int64_t attention_lanes = 16;

/// Rows that the kernels' inner loops take together: 6, or 32 where the processor multiplies matrix tiles. Scratch is
/// padded to whole groups of both, the same for every kernel, and so are plans.
inline constexpr std::int64_t attention_row_group = 6;
inline constexpr std::int64_t attention_tile_rows = 32;
inline constexpr std::int64_t attention_row_padding = 96;
static_assert(attention_row_padding % attention_row_group == 0 && attention_row_padding % attention_tile_rows == 0,
              "attention: rows are padded to whole groups");

/// A block of query rows of one head against one quantum of keys. Rows are padded to whole groups: the padding has
/// zero queries and a state that nobody reads. Queries, keys and values are as the kernel packed them.
struct AttentionQuantum {
  const float* queries;
  const float* keys;
  const float* values;
  float scale;              ///< as pack_queries was given it
  float* accumulator;       ///< [rows, padded][padded_head_dim]
  float* maximum;           ///< [rows, padded]
  float* sum;               ///< [rows, padded]
  float* scores;            ///< [attention_tile_rows][key_quantum]
  std::int64_t rows;        ///< without padding
  std::int64_t keys_count;  ///< at most key_quantum
  std::int64_t head_dim;
  std::int64_t padded_head_dim;
  std::int64_t query_position;  ///< of row 0
  std::int64_t key_position;    ///< of key 0
  bool causal;
  std::int64_t window;
  bool hides;                       ///< some key of the quantum is hidden from some row, or there is a mask
  TensorView<const float, 2> mask;  ///< [rows, keys_count] or empty
};

/// Rows of one head with the element type known at run time: what a kernel hands on when it chooses its instruction set
/// at run time.
struct AttentionRows {
  const void* data;
  DType dtype;
  std::int64_t stride;
  std::int64_t count;
  std::int64_t head_dim;
};

/// Hides what a group of rows must not see, padding keys included, and adds mask_scale times the mask.
inline void mask_scores(const AttentionQuantum& quantum, std::int64_t first_row, std::int64_t row_group,
                        float mask_scale) {
  constexpr float hidden = -std::numeric_limits<float>::infinity();
  const std::int64_t rows = std::min(row_group, quantum.rows - first_row);
  for (std::int64_t r = 0; r < rows; ++r) {
    float* scores = quantum.scores + r * key_quantum;
    std::int64_t begin = 0;
    std::int64_t end = quantum.keys_count;
    if (quantum.causal) {
      const std::int64_t position = quantum.query_position + first_row + r - quantum.key_position;
      end = std::clamp<std::int64_t>(position + 1, 0, end);
      if (quantum.window > 0) begin = std::clamp<std::int64_t>(position + 1 - quantum.window, 0, end);
    }
    if (!quantum.mask.empty()) {
      for (std::int64_t key = begin; key < end; ++key) scores[key] += mask_scale * quantum.mask(first_row + r, key);
    }
    std::fill(scores, scores + begin, hidden);
    std::fill(scores + end, scores + key_quantum, hidden);
  }
  std::fill(quantum.scores + rows * key_quantum, quantum.scores + row_group * key_quantum, hidden);
}

/// Queries of T as scaled fp32, [rows][head_dim], the last group filled up with zeros.
template <Element T>
void pack_scaled_queries(TensorView<const T, 2> queries, float scale, float* packed) {
  const std::int64_t rows = queries.extent(0);
  const std::int64_t head_dim = queries.extent(1);
  for (std::int64_t r = 0; r < rows; ++r, packed += head_dim) {
    const T* from = queries.data() + r * queries.stride(0);
    for (std::int64_t d = 0; d < head_dim; ++d) packed[d] = scale * static_cast<float>(from[d]);
  }
  std::fill_n(packed, (round_up(rows, attention_row_group) - rows) * head_dim, 0.0F);
}

}  // namespace ltxmem::cpu
