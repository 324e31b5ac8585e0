// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/linear.hpp"

namespace ltx2 {

/// The feed-forward network of the transformer and of the connectors, evaluated in chunks of tokens.
///
/// Computes  y = epilogue(net.2(gelu_tanh(net.0.proj(x))))
/// Shapes    x and y [N, D], hidden 4 D
/// Memory    chunk * 4 D elements of scratch; chunk is rounded up to row_quantum
/// Source    transformer.md 9 of the format description
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class FeedForward {
 public:
  FeedForward(const WeightScope& weights, std::int64_t width)
      : up_(make_linear<T, Backend>(weights.linear("net.0.proj", 4 * width, width))),
        down_(make_linear<T, Backend>(weights.linear("net.2", width, 4 * width))) {}

  /// y may be the epilogue's residual or x. chunk is in tokens, 0: all at once.
  void operator()(Backend& backend, ltxmem::TensorView<const T, 2> x, std::int64_t chunk,
                  const ltxmem::LinearEpilogue<T>& epilogue, ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) const {
    if (x.extent(0) == 0) return;
    ltxmem::LinearEpilogue<T> gelu;
    gelu.activation = ltxmem::Activation::gelu_tanh;
    const std::int64_t tile = chunk > 0 ? ltxmem::round_up(chunk, ltxmem::row_quantum) : x.extent(0);
    ltxmem::for_each_tile(backend, x.extent(0), tile, [&](std::int64_t begin, std::int64_t count) {
      const auto scope = arena.scope();
      const auto hidden = arena.take<T, 2>("ffn hidden", {count, up_.outputs()});
      up_.apply(backend, x.rows(begin, count), gelu, hidden, arena);
      down_.apply(backend, hidden, epilogue.tokens(begin, count), y.rows(begin, count), arena);
    });
  }

 private:
  ModelLinear<T, Backend> up_;
  ModelLinear<T, Backend> down_;
};

}  // namespace ltx2
