// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/linear.hpp"

namespace ltx2 {

/// The feed-forward network of the transformer and of the connectors, evaluated in chunks of tokens.
///
/// Computes  y = epilogue(net.2(gelu_tanh(net.0.proj(x))))
/// Shapes    x and y [N, D], hidden 4 D
/// Memory    chunk * 4 D elements of scratch; chunk is rounded up to row_quantum
/// Source    docs/ltx2/transformer.md 9
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class FeedForward {
 public:
  FeedForward(const WeightScope& weights, std::int64_t width)
      : ffn_(make_linear<T, Backend>(weights.linear("net.0.proj", 4 * width, width)),
             make_linear<T, Backend>(weights.linear("net.2", width, 4 * width))) {}

  /// y may be the epilogue's residual or x. chunk is in tokens, 0: all at once.
  void operator()(Backend& backend, ltxmem::TensorView<const T, 2> x, std::int64_t chunk,
                  const ltxmem::LinearEpilogue<T>& epilogue, ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) const {
    ffn_(backend, x, epilogue, y, arena, {.token_chunk = chunk});
  }

 private:
  ltxmem::ChunkedFFN<T, Backend, ModelLinear<T, Backend>> ffn_;
};

}  // namespace ltx2
