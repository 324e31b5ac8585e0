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
/// A kernel K is a type with
///   K::row_group                      query rows that its inner loops take together
///   K::pack_keys(keys, packed)        brings up to key_quantum keys of one head, [M, head_dim], into its own order, as
///                                     fp32, key_quantum * head_dim floats; missing keys become zeros
///   K::pack_values(values, stride, packed)   rows of fp32 values, `stride` floats apart, padded with zeros
///   K::append(quantum)                the state of every row after also seeing the quantum
/// and no state of its own. Scratch belongs to the caller and is aligned to 64 bytes.

namespace ltxmem::cpu {

/// Head dimensions are padded to whole vectors of the widest kernel, in floats.
inline constexpr std::int64_t attention_lanes = 16;

/// A block of query rows of one head against one quantum of keys. Rows are padded to whole groups: the padding has
/// zero queries and a state that nobody reads.
struct AttentionQuantum {
  const float* queries;     ///< [groups][head_dim][row_group], scaled so that logits are in base 2
  const float* keys;        ///< as pack_keys left them
  const float* values;      ///< [keys][padded_head_dim]
  float* accumulator;       ///< [rows, padded][padded_head_dim]
  float* maximum;           ///< [rows, padded]
  float* sum;               ///< [rows, padded]
  float* scores;            ///< [row_group][key_quantum]
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

/// Hides what a group of rows must not see, padding keys included, and adds the mask.
inline void mask_scores(const AttentionQuantum& quantum, std::int64_t first_row, std::int64_t row_group) {
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
      for (std::int64_t key = begin; key < end; ++key) scores[key] += log2_e * quantum.mask(first_row + r, key);
    }
    std::fill(scores, scores + begin, hidden);
    std::fill(scores + end, scores + key_quantum, hidden);
  }
  std::fill(quantum.scores + rows * key_quantum, quantum.scores + row_group * key_quantum, hidden);
}

}  // namespace ltxmem::cpu
