// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"
#include "model/head_share.hpp"
#include "model/linear.hpp"

namespace ltx2 {

/// The feed-forward network of the transformer and of the connectors, evaluated in chunks of tokens.
///
/// Computes  y = epilogue(net.2(gelu_tanh(net.0.proj(x))))
/// Shapes    x and y [N, D], hidden 4 D
/// Ranks     that share the heads share the hidden channels in the same proportion; all get y
/// Memory    chunk * the rank's hidden channels elements of scratch, with several ranks also the chunk * D floats of
///           their sum; chunk is rounded up to row_quantum
/// Cost      with several ranks an all_reduce of chunk * D floats per chunk
/// Source    docs/ltx2/transformer.md 9
template <ltxmem::Element T, ltxmem::Backend<T> Backend, class Ranks = ltxmem::SingleRank>
class FeedForward {
 public:
  FeedForward(const WeightScope& weights, std::int64_t width, const HeadShare<Ranks>& share)
      : ffn_(
            make_linear<T, Backend>(weights.linear_outputs("net.0.proj", 4 * width, width, share.of(4 * width))),
            Down::summed(make_linear<T, Backend>(weights.linear_inputs("net.2", width, 4 * width, share.of(4 * width))),
                         *share.ranks)) {}

  /// y may be the epilogue's residual or x. chunk is in tokens, 0: all at once.
  void operator()(Backend& backend, ltxmem::TensorView<const T, 2> x, std::int64_t chunk,
                  const ltxmem::LinearEpilogue<T>& epilogue, ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) const {
    ffn_(backend, x, epilogue, y, arena, {.token_chunk = chunk});
  }

 private:
  using Down = ltxmem::TensorParallelLinear<ModelLinear<T, Backend>, Ranks>;

  ltxmem::ChunkedFFN<T, Backend, ModelLinear<T, Backend>, Down> ffn_;
};

}  // namespace ltx2
