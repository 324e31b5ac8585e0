// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/travelling_weights.hpp"
#include "config/gemma_config.hpp"
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/linear.hpp"
#include "model/rotary.hpp"

namespace ltx2 {

/// Tile sizes of a text model, in tokens.
struct TextTiles {
  std::int64_t ffn_chunk = 0;   ///< 0: all tokens at once
  std::int64_t query_tile = 0;  ///< 0: all queries at once
  std::int64_t key_tile = 0;    ///< 0: all keys at once
};

namespace detail {

/// hidden(n, :) = scale * table row of token n; item i is token i.
template <ltxmem::Element T, class Weight>
struct EmbedTokens {
  const Weight* table;
  std::int64_t row_stride;
  ltxmem::TensorView<const std::int32_t, 2> ids;  // [1, N]
  float scale;
  ltxmem::TensorView<T, 2> hidden;  // [N, D]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t token) const {
    const Weight* row = table + ids(0, token) * row_stride;
    for (std::int64_t column = 0; column < hidden.extent(1); ++column) {
      hidden(token, column) = static_cast<T>(static_cast<float>(row[column]) * scale);
    }
  }
};

/// x *= y, element by element.
template <ltxmem::Element T>
struct MultiplyBy {
  ltxmem::TensorView<T, 2> x;
  ltxmem::TensorView<const T, 2> y;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t column = 0; column < x.extent(1); ++column) {
      x(row, column) = static_cast<T>(static_cast<float>(x(row, column)) * static_cast<float>(y(row, column)));
    }
  }
};

}  // namespace detail

/// The factor of Gemma's embeddings: the square root of the width, in the precision that the weights are stored in.
inline float gemma_embedding_scale(std::int64_t width, ltxmem::DType weights) {
  const auto exact = static_cast<float>(std::sqrt(static_cast<double>(width)));
  if (weights == ltxmem::DType::bf16) return static_cast<float>(ltxmem::bfloat16(exact));
  if (weights == ltxmem::DType::f16) return static_cast<float>(ltxmem::half(exact));
  return exact;
}

/// One decoder layer of Gemma 3.
///
/// Computes  h += norm(attention(norm(h))), h += norm(down(gelu(gate(a)) * up(a))) with a = norm(h)
/// Shapes    h [N, D], in place; four norms with weight 1 + w, another norm per head on queries and keys
/// Memory    N * (D + query width + 2 * key width) elements and the attention's state, or N * 2 D and chunk * 2 F
/// Source    docs/ltx2/text.md 2
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class GemmaLayer {
 public:
  GemmaLayer(const GemmaConfig& config, const WeightScope& weights, bool full_attention)
      : config_(config),
        full_attention_(full_attention),
        q_(linear(weights, "self_attn.q_proj", config.query_width(), config.hidden_size)),
        k_(linear(weights, "self_attn.k_proj", config.kv_width(), config.hidden_size)),
        v_(linear(weights, "self_attn.v_proj", config.kv_width(), config.hidden_size)),
        out_(linear(weights, "self_attn.o_proj", config.hidden_size, config.query_width())),
        gate_(linear(weights, "mlp.gate_proj", config.intermediate_size, config.hidden_size)),
        up_(linear(weights, "mlp.up_proj", config.intermediate_size, config.hidden_size)),
        down_(linear(weights, "mlp.down_proj", config.hidden_size, config.intermediate_size)),
        q_norm_(weights.vector("self_attn.q_norm.weight", config.head_dim)),
        k_norm_(weights.vector("self_attn.k_norm.weight", config.head_dim)),
        before_attention_(weights.vector("input_layernorm.weight", config.hidden_size)),
        after_attention_(weights.vector("post_attention_layernorm.weight", config.hidden_size)),
        before_mlp_(weights.vector("pre_feedforward_layernorm.weight", config.hidden_size)),
        after_mlp_(weights.vector("post_feedforward_layernorm.weight", config.hidden_size)) {}

  bool full_attention() const noexcept { return full_attention_; }

  void operator()(Backend& backend, const ltxmem::RotaryTable& rotary, const TextTiles& tiles,
                  ltxmem::TensorView<T, 2> hidden, ltxmem::Arena& arena) const {
    attend(backend, rotary, tiles, hidden, arena);
    feed_forward(backend, tiles, hidden, arena);
  }

 private:
  static ModelLinear<T, Backend> linear(const WeightScope& weights, const char* name, std::int64_t outputs,
                                        std::int64_t inputs) {
    return make_linear<T, Backend>(weights.linear(name, outputs, inputs));
  }

  /// norm with weight 1 + w, plus a residual if there is one.
  void norm(Backend& backend, ltxmem::TensorView<const T, 2> x, const ltxmem::WeightVector& weight,
            ltxmem::TensorView<const T, 2> residual, ltxmem::TensorView<T, 2> y) const {
    ltxmem::NormArguments<T> arguments;
    arguments.eps = static_cast<float>(config_.norm_eps);
    arguments.weight = weight;
    arguments.weight_offset = 1.0F;
    arguments.residual = residual;
    backend.norm(x, arguments, y);
  }

  ltxmem::HeadNormArguments head_norm(std::int64_t heads, const ltxmem::WeightVector& weight,
                                      const ltxmem::RotaryTable& rotary) const {
    ltxmem::HeadNormArguments arguments;
    arguments.heads = heads;
    arguments.per_head = true;
    arguments.eps = static_cast<float>(config_.norm_eps);
    arguments.weight = weight;
    arguments.weight_offset = 1.0F;
    arguments.rotary = rotary;
    return arguments;
  }

  void attend(Backend& backend, const ltxmem::RotaryTable& rotary, const TextTiles& tiles,
              ltxmem::TensorView<T, 2> hidden, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t tokens = hidden.extent(0);
    const auto normed = arena.take<T, 2>("gemma normed", hidden.extents());
    const auto q = arena.take<T, 2>("gemma queries", {tokens, config_.query_width()});
    const auto k = arena.take<T, 2>("gemma keys", {tokens, config_.kv_width()});
    const auto v = arena.take<T, 2>("gemma values", {tokens, config_.kv_width()});
    norm(backend, hidden, before_attention_, {}, normed);
    q_.apply(backend, normed, ltxmem::LinearEpilogue<T>{}, q, arena);
    k_.apply(backend, normed, ltxmem::LinearEpilogue<T>{}, k, arena);
    v_.apply(backend, normed, ltxmem::LinearEpilogue<T>{}, v, arena);
    backend.head_norm(q, head_norm(config_.heads, q_norm_, rotary));
    backend.head_norm(k, head_norm(config_.kv_heads, k_norm_, rotary));

    ltxmem::TiledAttentionOptions options;
    options.heads = config_.heads;
    options.kv_heads = config_.kv_heads;
    options.scale = static_cast<float>(1.0 / std::sqrt(config_.query_scale));
    options.causal = true;
    options.window = full_attention_ ? 0 : config_.sliding_window;
    options.query_tile = tiles.query_tile;
    options.key_tile = tiles.key_tile;
    const ltxmem::TiledAttention<T, Backend> attention(options);
    attention(backend, q, ltxmem::TensorView<const T, 2>(k), ltxmem::TensorView<const T, 2>(v), q, arena);

    out_.apply(backend, q, ltxmem::LinearEpilogue<T>{}, normed, arena);
    norm(backend, normed, after_attention_, hidden, hidden);
  }

  void feed_forward(Backend& backend, const TextTiles& tiles, ltxmem::TensorView<T, 2> hidden,
                    ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t tokens = hidden.extent(0);
    const auto normed = arena.take<T, 2>("gemma normed", hidden.extents());
    const auto result = arena.take<T, 2>("gemma mlp", hidden.extents());
    norm(backend, hidden, before_mlp_, {}, normed);
    ltxmem::LinearEpilogue<T> gelu;
    gelu.activation = ltxmem::Activation::gelu_tanh;
    const std::int64_t tile = tiles.ffn_chunk > 0 ? ltxmem::round_up(tiles.ffn_chunk, ltxmem::row_quantum) : tokens;
    ltxmem::for_each_tile(backend, tokens, tile, [&](std::int64_t begin, std::int64_t count) {
      const auto tile_scope = arena.scope();
      const ltxmem::TensorView<const T, 2> input = normed.rows(begin, count);
      const auto gate = arena.take<T, 2>("gemma gate", {count, config_.intermediate_size});
      const auto up = arena.take<T, 2>("gemma up", {count, config_.intermediate_size});
      gate_.apply(backend, input, gelu, gate, arena);
      up_.apply(backend, input, ltxmem::LinearEpilogue<T>{}, up, arena);
      backend.for_each({"multiply", gate.size(), 3 * gate.size() * static_cast<std::int64_t>(sizeof(T))}, count,
                       detail::MultiplyBy<T>{gate, up});
      down_.apply(backend, gate, ltxmem::LinearEpilogue<T>{}, result.rows(begin, count), arena);
    });
    norm(backend, result, after_mlp_, hidden, hidden);
  }

  GemmaConfig config_;
  bool full_attention_;
  ModelLinear<T, Backend> q_;
  ModelLinear<T, Backend> k_;
  ModelLinear<T, Backend> v_;
  ModelLinear<T, Backend> out_;
  ModelLinear<T, Backend> gate_;
  ModelLinear<T, Backend> up_;
  ModelLinear<T, Backend> down_;
  ltxmem::WeightVector q_norm_;
  ltxmem::WeightVector k_norm_;
  ltxmem::WeightVector before_attention_;
  ltxmem::WeightVector after_attention_;
  ltxmem::WeightVector before_mlp_;
  ltxmem::WeightVector after_mlp_;
};

/// The layers' prefixes, for the ModelBlocks that the model is run with.
inline std::vector<std::string> gemma_layer_prefixes(const GemmaConfig& config, const WeightScope& weights) {
  return numbered_prefixes(weights.prefix() + "layers.", config.layers);
}

/// The Gemma 3 text model up to its last hidden state, on the tokens of a prompt alone: padding would not change them.
///
/// Computes  hidden state 0 = scaled embeddings, l = output of layer l - 1, the last one after the final norm
/// Shapes    ids [N], every hidden state [N, D]; they are handed out one by one and never exist together
/// Memory    N * D elements, two rotary tables of N * head_dim floats each, and one layer's scratch; the layers'
/// weights
///           are where the stream has them
/// Throws    ShapeError for ids outside the vocabulary
/// Source    docs/ltx2/text.md 2
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class Gemma {
 public:
  Gemma(const GemmaConfig& config, const WeightScope& weights)
      : config_(config),
        embedding_(weights.matrix("embed_tokens.weight", config.vocabulary, config.hidden_size)),
        norm_(weights.vector("norm.weight", config.hidden_size)) {}

  /// Calls consume(index, hidden state) for index 0 to layers; the state is valid during the call.
  template <class Consume>
  void operator()(Backend& backend, const std::vector<std::int32_t>& ids, const TextTiles& tiles,
                  BlockStream<Backend>& layers, Consume&& consume, ltxmem::Arena& arena) const {
    const auto tokens = static_cast<std::int64_t>(ids.size());
    for (const std::int32_t id : ids) {
      ltxmem::expects(id >= 0 && id < config_.vocabulary, "gemma: token id ", id, " of ", config_.vocabulary);
    }
    const auto scope = arena.scope();
    const auto hidden = arena.take<T, 2>("gemma hidden", {tokens, config_.hidden_size});
    const TokenPositions positions = sequence_positions(tokens);
    const auto rows = upload_rows(backend, positions, arena);
    const ltxmem::RotaryTable full = rotary(backend, config_.rope_theta, config_.rope_factor, positions, rows, arena);
    const ltxmem::RotaryTable sliding = rotary(backend, config_.rope_local_theta, 1.0, positions, rows, arena);

    embed(backend, ids, hidden, arena);
    consume(std::int64_t{0}, ltxmem::TensorView<const T, 2>(hidden));
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      const ltxmem::Step step(backend, "gemma layer", layer);
      const GemmaLayer<T, Backend> decoder(config_, layers.acquire(layer),
                                           config_.full_attention[static_cast<std::size_t>(layer)]);
      decoder(backend, decoder.full_attention() ? full : sliding, tiles, hidden, arena);
      if (layer + 1 == config_.layers) {
        ltxmem::NormArguments<T> arguments;
        arguments.eps = static_cast<float>(config_.norm_eps);
        arguments.weight = norm_;
        arguments.weight_offset = 1.0F;
        backend.norm(ltxmem::TensorView<const T, 2>(hidden), arguments, hidden);
      }
      consume(layer + 1, ltxmem::TensorView<const T, 2>(hidden));
    }
  }

 private:
  void embed(Backend& backend, const std::vector<std::int32_t>& ids, ltxmem::TensorView<T, 2> hidden,
             ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto device_ids = arena.take<std::int32_t, 2>("token ids", {1, hidden.extent(0)});
    backend.copy(as_row(ids), device_ids);
    ltxmem::with_floating_type(embedding_.dtype, [&](auto* type) {
      using Weight = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
      const detail::EmbedTokens<T, Weight> fill{reinterpret_cast<const Weight*>(embedding_.data), embedding_.row_stride,
                                                device_ids,
                                                gemma_embedding_scale(config_.hidden_size, embedding_.dtype), hidden};
      backend.for_each({"embed tokens", hidden.size(), 2 * hidden.size() * static_cast<std::int64_t>(sizeof(T))},
                       hidden.extent(0), fill);
    });
  }

  /// Half of a head turns with the other half: by position * theta^(-2 r / head_dim) / factor for r in [0, half).
  ltxmem::RotaryTable rotary(Backend& backend, double theta, double factor, const TokenPositions& positions,
                             ltxmem::TensorView<const std::int32_t, 2> rows, ltxmem::Arena& arena) const {
    const std::int64_t half = config_.head_dim / 2;
    std::vector<float> frequencies;
    for (std::int64_t r = 0; r < half; ++r) {
      const double exponent = -static_cast<double>(r) / static_cast<double>(half);
      frequencies.push_back(static_cast<float>(std::pow(theta, exponent) / factor));
    }
    const ltxmem::Extents<2> extents{positions.tokens(), half};
    const auto cosine = arena.take<float>("rotary cosine", extents);
    const auto sine = arena.take<float>("rotary sine", extents);
    const auto scope = arena.scope();
    const auto frequency = arena.take<float, 2>("rotary frequencies", {1, half});
    const auto position = arena.take<float, 2>("rotary positions", {1, extents[0]});
    backend.copy(as_row(frequencies), frequency);
    backend.copy(as_row(positions.midpoints[0]), position);
    const std::int64_t count = extents[0] * extents[1];
    backend.for_each({"rotary table", 40 * count, 8 * count}, count,
                     detail::RotaryAngles{frequency, position, cosine, sine});
    ltxmem::RotaryTable table;
    table.cosine = cosine;
    table.sine = sine;
    table.coordinate = rows;
    table.per_head = true;
    return table;
  }

  GemmaConfig config_;
  ltxmem::WeightMatrix embedding_;
  ltxmem::WeightVector norm_;
};

}  // namespace ltx2
