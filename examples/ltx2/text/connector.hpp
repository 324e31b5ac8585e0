// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/travelling_weights.hpp"
#include "config/transformer_config.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/stores/row_store.hpp"
#include "model/attention.hpp"
#include "model/feed_forward.hpp"
#include "model/rotary.hpp"
#include "text/gemma.hpp"

namespace ltx2 {

namespace detail {

/// hidden(begin + i, :) = register (begin + i) mod count; item i is row begin + i.
template <ltxmem::Element T, class Weight>
struct FillRegisters {
  const Weight* registers;
  std::int64_t row_stride;
  std::int64_t count;
  std::int64_t begin;
  ltxmem::TensorView<T, 2> hidden;  // the whole sequence

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t row = begin + i;
    const Weight* from = registers + row % count * row_stride;
    for (std::int64_t column = 0; column < hidden.extent(1); ++column) {
      hidden(row, column) = static_cast<T>(static_cast<float>(from[column]));
    }
  }
};

}  // namespace detail

/// The blocks' prefixes, for the ModelBlocks that the connector below a prefix is run with.
inline std::vector<std::string> connector_block_prefixes(const ConnectorConfig& config, const std::string& prefix) {
  return numbered_prefixes(prefix + "transformer_1d_blocks.", config.layers);
}

/// Small transformer between the text features and one stream of the diffusion transformer. Learned registers fill the
/// sequence up behind the prompt, so its result has no padding.
///
/// Computes  h = [features; registers], each at its own position; per block h += Attn(rms(h)), h += FF(rms(h)); rms(h)
/// Shapes    features [N, width] fp32, context [S, width] fp32, N <= S, S a multiple of the number of registers
/// Memory    S * width * 4 elements, the rotary tables, and one tile's attention or feed-forward scratch; the blocks'
///           weights are where the stream has them
/// Throws    ShapeError
/// Source    docs/ltx2/text.md 4
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class Connector {
 public:
  Connector(const ConnectorConfig& config, const WeightScope& weights)
      : config_(config), registers_(weights.matrix("learnable_registers", config.registers, config.width())) {}

  std::int64_t width() const noexcept { return config_.width(); }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 2> features, const TextTiles& tiles,
                  BlockStream<Backend>& blocks, ltxmem::TensorView<float, 2> context, ltxmem::Arena& arena) const {
    const std::int64_t length = context.extent(0);
    ltxmem::expects(features.extent(1) == width() && context.extent(1) == width(), "connector: features of ",
                    features.extent(1), " channels, context of ", context.extent(1), ", expected ", width());
    ltxmem::expects(features.extent(0) <= length, "connector: ", features.extent(0), " tokens for a context of ",
                    length);
    ltxmem::expects(length > 0 && length % config_.registers == 0, "connector: context length ", length,
                    ", expected a multiple of ", config_.registers);

    const auto scope = arena.scope();
    const auto hidden = arena.take<T, 2>("connector hidden", context.extents());
    const auto normed = arena.take<T, 2>("connector normed", context.extents());
    const TokenPositions positions = sequence_positions(length);
    RotaryGrid grid;
    grid.width = width();
    grid.max_positions = {config_.max_position};
    grid.theta = config_.rope_theta;
    grid.double_precision = config_.rope_double;
    grid.type = config_.rope;
    const ltxmem::RotaryTable rotary =
        rotary_table(backend, grid, positions, upload_rows(backend, positions, arena), arena);

    fill(backend, features, hidden);
    ltxmem::SingleRank alone;
    for (std::int64_t index = 0; index < config_.layers; ++index) {
      const ltxmem::Step step(backend, "connector block", index);
      const Block block(blocks.acquire(index), config_, whole_heads(alone, config_.heads));
      norm(backend, hidden, normed);
      attend(backend, block.attention, normed, rotary, tiles, hidden, arena);
      norm(backend, hidden, normed);
      block.feed_forward(backend, normed, tiles.ffn_chunk, residual(hidden), hidden, arena);
    }
    norm(backend, hidden, normed);
    backend.copy(ltxmem::TensorView<const T, 2>(normed), context);
  }

 private:
  struct Block {
    Block(const WeightScope& weights, const ConnectorConfig& config, const HeadShare<ltxmem::SingleRank>& all)
        : attention(weights.scope("attn1"), attention_options(config), all),
          feed_forward(weights.scope("ff"), config.width(), all) {}

    static AttentionOptions attention_options(const ConnectorConfig& config) {
      return {config.heads,   config.head_dim,        config.width(),
              config.width(), config.gated_attention, static_cast<float>(config.norm_eps)};
    }

    Attention<T, Backend> attention;
    FeedForward<T, Backend> feed_forward;
  };

  static ltxmem::LinearEpilogue<T> residual(ltxmem::TensorView<const T, 2> hidden) {
    ltxmem::LinearEpilogue<T> epilogue;
    epilogue.residual = hidden;
    return epilogue;
  }

  void norm(Backend& backend, ltxmem::TensorView<const T, 2> x, ltxmem::TensorView<T, 2> y) const {
    ltxmem::NormArguments<T> arguments;
    arguments.eps = static_cast<float>(config_.norm_eps);
    backend.norm(x, arguments, y);
  }

  /// A register keeps the number of its position, so the first one used depends on the prompt's length.
  void fill(Backend& backend, ltxmem::TensorView<const float, 2> features, ltxmem::TensorView<T, 2> hidden) const {
    const std::int64_t tokens = features.extent(0);
    backend.copy(features, hidden.rows(0, tokens));
    ltxmem::with_floating_type(registers_.dtype, [&](auto* type) {
      using Weight = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
      const std::int64_t rows = hidden.extent(0) - tokens;
      backend.for_each({"fill registers", 0, 2 * rows * width() * static_cast<std::int64_t>(sizeof(T))}, rows,
                       detail::FillRegisters<T, Weight>{reinterpret_cast<const Weight*>(registers_.data),
                                                        registers_.row_stride, config_.registers, tokens, hidden});
    });
  }

  void attend(Backend& backend, const Attention<T, Backend>& attention, ltxmem::TensorView<const T, 2> normed,
              const ltxmem::RotaryTable& rotary, const TextTiles& tiles, ltxmem::TensorView<T, 2> hidden,
              ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t length = hidden.extent(0);
    const auto k = arena.take<T, 2>("connector keys", {length, attention.inner()});
    const auto v = arena.take<T, 2>("connector values", {length, attention.inner()});
    attention.keys(backend, normed, rotary, k, arena);
    attention.values(backend, normed, v, arena);
    ltxmem::BorrowedRowStore<T> keys(k);
    ltxmem::BorrowedRowStore<T> values(v);
    const std::int64_t tile = tiles.query_tile > 0 ? ltxmem::round_up(tiles.query_tile, ltxmem::row_quantum) : length;
    ltxmem::for_each_tile(backend, length, tile, [&](std::int64_t begin, std::int64_t count) {
      const ltxmem::TensorView<T, 2> rows = hidden.rows(begin, count);
      attention.attend(backend, normed.rows(begin, count), rotary.tokens(begin, count), keys, values, {},
                       tiles.key_tile, residual(rows), rows, arena);
    });
  }

  ConnectorConfig config_;
  ltxmem::WeightMatrix registers_;
};

}  // namespace ltx2
