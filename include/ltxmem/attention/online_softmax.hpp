// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem {

/// Accumulator of attention over any number of tiles of keys: a fold that can be continued, split and joined.
///
/// Computes  for every row and head the maximum logit m, s = sum 2^(logit - m) and O = sum 2^(logit - m) v
/// Shapes    rows [N], heads H, head_dim d: O [N, H * d], m and s [N, H]
/// Memory    workspace_bytes(N, H, d) = N * H * (d + 2) floats, each of the three buffers rounded up to the arena's
///           alignment; alive until the arena's scope ends
/// Numerics  fp32. append in the order of the keys gives the same bits for every cut into tiles of whole quanta; merge
///           is associative and commutative up to fp32 rounding, a fresh state is its identity. Rows that saw no key,
///           or only hidden ones, stay at the identity and finalize to zero
/// Stream    ordered on backend.stream(), does not synchronise
/// Throws    ShapeError, OutOfMemory
/// Source    Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, section 3
template <class Backend>
class OnlineSoftmax {
 public:
  static std::size_t workspace_bytes(std::int64_t rows, std::int64_t heads, std::int64_t head_dim) {
    const std::size_t statistic = aligned_bytes(byte_count<float>(Extents<2>{rows, heads}));
    return aligned_bytes(byte_count<float>(Extents<2>{rows, checked_product(heads, head_dim)})) + 2 * statistic;
  }

  /// Takes the buffers from the arena and resets them.
  OnlineSoftmax(Backend& backend, Arena& arena, std::int64_t rows, std::int64_t heads, std::int64_t head_dim)
      : backend_(&backend),
        state_{arena.take<float, 2>("softmax accumulator", {rows, checked_product(heads, head_dim)}),
               arena.take<float, 2>("softmax maximum", {rows, heads}),
               arena.take<float, 2>("softmax sum", {rows, heads})} {
    reset();
  }

  /// Forgets every key.
  void reset() { backend_->attention_reset(state_); }

  /// Also sees the keys of a tile, for all rows of the state.
  template <Element T>
  requires HasAttention<Backend, T>
  void append(const AttentionTile<T>& tile, Arena& arena) { backend_->attention_append(tile, state_, arena); }

  /// Also has seen what the other has seen; the other keeps its content.
  void merge(const OnlineSoftmax& other) { backend_->attention_merge(other.state_, state_); }

  /// out = O / s * gate, zero where no key was seen. gate [N, H] and natural_lse [N, H] (the log-sum-exp in base e,
  /// -infinity where no key was seen) may be empty. The state stays as it is.
  template <Element T>
  requires HasAttention<Backend, T>
  void finalize(TensorView<T, 2> out, TensorView<const float, 2> gate = {},
                TensorView<float, 2> natural_lse = {}) const {
    backend_->attention_finalize(state_, gate, out, natural_lse);
  }

  std::int64_t rows() const noexcept { return state_.maximum.extent(0); }
  std::int64_t heads() const noexcept { return state_.maximum.extent(1); }
  SoftmaxStateView view() const noexcept { return state_; }

 private:
  Backend* backend_;
  SoftmaxStateView state_;
};

}  // namespace ltxmem
