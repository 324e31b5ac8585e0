// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"
#include "ltxmem/stores/row_store.hpp"
#include "model/head_share.hpp"
#include "model/linear.hpp"

namespace ltx2 {

struct AttentionOptions {
  std::int64_t heads = 1;
  std::int64_t head_dim = 1;
  std::int64_t query_inputs = 0;  ///< also the width of the result
  std::int64_t key_inputs = 0;
  bool gated = false;  ///< output gate 2 * sigmoid(to_gate_logits(query input)) per token and head
  float eps = 1e-6F;

  std::int64_t inner() const noexcept { return heads * head_dim; }
};

namespace detail {

/// y[n, h, :] = x[n, h, :] * gate[n, h]; item i is head h of row n.
template <ltxmem::Element T>
struct GateHeads {
  ltxmem::TensorView<const float, 2> gate;  // [N, heads]
  ltxmem::TensorView<T, 2> x;               // [N, heads * head_dim], in place

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t heads = gate.extent(1);
    const std::int64_t head_dim = x.extent(1) / heads;
    const std::int64_t row = i / heads;
    const std::int64_t head = i % heads;
    for (std::int64_t column = head * head_dim; column < (head + 1) * head_dim; ++column) {
      x(row, column) = static_cast<T>(static_cast<float>(x(row, column)) * gate(row, head));
    }
  }
};

}  // namespace detail

/// Attention as the transformer and the connectors use it, in steps that a caller runs over tiles of tokens.
///
/// Computes  q = rope(rms(to_q(a)) * q_norm), k = rope(rms(to_k(b)) * k_norm), v = to_v(b), the means over all heads;
///           y = residual + gate * to_out(softmax(q k^T / sqrt(head_dim) + mask) v * 2 sigmoid(to_gate_logits(a)))
/// Shapes    a [N, query_inputs], b [M, key_inputs], q [N, inner], k and v [M, inner], y [N, query_inputs]
/// Ranks     that share the heads have q, k, v and attended rows of their own heads, possibly none, and all get y:
///           heads() and inner() are the rank's. Norms and to_out are collectives, that all of them call alike
/// Memory    only scratch, from the arena; with several ranks also N floats per norm, and N * query_inputs for the sum
///           behind to_out
/// Cost      with several ranks an all_reduce of N floats for q, of M for k, of N * query_inputs for y
/// Numerics  q, k, v and the attended rows are rounded to T, sums are fp32; every row is independent of its tile
/// Source    docs/ltx2/transformer.md 8
template <ltxmem::Element T, ltxmem::Backend<T> Backend, class Ranks = ltxmem::SingleRank>
class Attention {
 public:
  /// What the norms multiply each row by, where a group of heads does not hold the row it is the mean of. May be empty.
  using RowFactors = ltxmem::TensorView<const float, 1>;

  /// options: of the whole layer.
  Attention(const WeightScope& weights, const AttentionOptions& options, const HeadShare<Ranks>& share)
      : options_(options),
        ranks_(share.ranks),
        norm_width_(options.inner()),
        first_head_(share.own.begin),
        q_(projection(weights, "to_q", options.inner(), options.query_inputs, share)),
        k_(projection(weights, "to_k", options.inner(), options.key_inputs, share)),
        v_(projection(weights, "to_v", options.inner(), options.key_inputs, share)),
        out_(Output::summed(make_linear<T, Backend>(weights.linear_inputs("to_out.0", options.query_inputs,
                                                                          options.inner(), share.of(options.inner()))),
                            *share.ranks)),
        q_norm_(weights.vector_part("q_norm.weight", options.inner(), share.of(options.inner()))),
        k_norm_(weights.vector_part("k_norm.weight", options.inner(), share.of(options.inner()))) {
    ltxmem::expects(options.heads == share.all, "attention: ", options.heads, " heads, a share of ", share.all);
    if (options.gated) gate_ = projection(weights, "to_gate_logits", options.heads, options.query_inputs, share);
    options_.heads = share.own.count;
  }

  /// The layer with some of its heads alone: the same products, bit by bit. Its norms are those of whole rows, so
  /// queries and keys take the factors that the whole layer's query_factors and key_factors gave; no output.
  Attention group(std::int64_t first_head, std::int64_t count) const {
    Attention part = *this;
    const std::int64_t begin = first_head * head_dim();
    const std::int64_t width = count * head_dim();
    part.options_.heads = count;
    part.first_head_ = first_head_ + first_head;
    part.q_ = q_.slice_outputs(begin, width);
    part.k_ = k_.slice_outputs(begin, width);
    part.v_ = v_.slice_outputs(begin, width);
    part.q_norm_ = q_norm_.slice(begin, width);
    part.k_norm_ = k_norm_.slice(begin, width);
    if (gate_) part.gate_ = gate_->slice_outputs(first_head, count);
    return part;
  }

  std::int64_t heads() const noexcept { return options_.heads; }
  bool has_heads() const noexcept { return heads() > 0; }
  std::int64_t head_dim() const noexcept { return options_.head_dim; }
  std::int64_t inner() const noexcept { return options_.inner(); }

  void queries(Backend& backend, ltxmem::TensorView<const T, 2> input, const ltxmem::RotaryTable& rotary,
               ltxmem::TensorView<T, 2> q, ltxmem::Arena& arena, RowFactors factors = {}) const {
    project(backend, q_, q_norm_, input, rotary, q, arena, factors);
  }

  void keys(Backend& backend, ltxmem::TensorView<const T, 2> input, const ltxmem::RotaryTable& rotary,
            ltxmem::TensorView<T, 2> k, ltxmem::Arena& arena, RowFactors factors = {}) const {
    project(backend, k_, k_norm_, input, rotary, k, arena, factors);
  }

  /// What the norms of queries and keys multiply each row by, [N]; the projected rows are scratch.
  void query_factors(Backend& backend, ltxmem::TensorView<const T, 2> input, ltxmem::TensorView<float, 1> factors,
                     ltxmem::Arena& arena) const {
    norm_factors(backend, q_, input, factors, arena);
  }
  void key_factors(Backend& backend, ltxmem::TensorView<const T, 2> input, ltxmem::TensorView<float, 1> factors,
                   ltxmem::Arena& arena) const {
    norm_factors(backend, k_, input, factors, arena);
  }

  void values(Backend& backend, ltxmem::TensorView<const T, 2> input, ltxmem::TensorView<T, 2> v,
              ltxmem::Arena& arena) const {
    if (has_heads()) v_.apply(backend, input, ltxmem::LinearEpilogue<T>{}, v, arena);
  }

  bool gated() const noexcept { return gate_.has_value(); }

  /// The gate of every row and head, [N, heads]; only in a model with gates.
  void gate(Backend& backend, ltxmem::TensorView<const T, 2> input, ltxmem::TensorView<float, 2> gate,
            ltxmem::Arena& arena) const {
    ltxmem::LinearEpilogue<float> epilogue;
    epilogue.activation = ltxmem::Activation::twice_sigmoid;
    if (has_heads()) gate_->apply(backend, input, epilogue, gate, arena);
  }

  /// The same in a buffer from the arena; empty in a model without gates.
  ltxmem::TensorView<const float, 2> gate(Backend& backend, ltxmem::TensorView<const T, 2> input,
                                          ltxmem::Arena& arena) const {
    if (!gated()) return {};
    const auto result = arena.take<float, 2>("head gate", {input.extent(0), heads()});
    gate(backend, input, result, arena);
    return result;
  }

  /// What follows the attention itself: y = epilogue(to_out(attended)), attended already gated.
  void output(Backend& backend, ltxmem::TensorView<const T, 2> attended, const ltxmem::LinearEpilogue<T>& epilogue,
              ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) const {
    out_.apply(backend, attended, epilogue, y, arena);
  }

  /// Everything for a tile of queries once keys and values exist: projections, attention over all keys, gate, to_out.
  /// y may be the residual, not the input. mask [N, M], additive, may be empty.
  template <class Keys, class Values>
  void attend(Backend& backend, ltxmem::TensorView<const T, 2> input, const ltxmem::RotaryTable& rotary, Keys& keys,
              Values& values, ltxmem::TensorView<const float, 2> mask, std::int64_t key_tile,
              const ltxmem::LinearEpilogue<T>& epilogue, ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto attended = arena.take<T, 2>("queries", {input.extent(0), inner()});
    attend_heads(backend, input, rotary, {}, keys, values, mask, key_tile, attended, arena);
    output(backend, attended, epilogue, y, arena);
  }

  /// The same without to_out: attended [N, inner] = attention of the queries over all keys, gated. The queries take its
  /// memory first.
  template <class Keys, class Values>
  void attend_heads(Backend& backend, ltxmem::TensorView<const T, 2> input, const ltxmem::RotaryTable& rotary,
                    RowFactors factors, Keys& keys, Values& values, ltxmem::TensorView<const float, 2> mask,
                    std::int64_t key_tile, ltxmem::TensorView<T, 2> attended, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto head_gate = gate(backend, input, arena);
    queries(backend, input, rotary, attended, arena, factors);
    if (!has_heads()) return;
    ltxmem::AttentionExtras extras;
    extras.gate = head_gate;
    extras.mask = mask;
    tiled({.key_tile = key_tile})(backend, attended, keys, values, attended, arena, extras);
  }

  /// The same with the attended rows replaced by their own values (a perturbation of guidance): no token sees another.
  void pass_values(Backend& backend, ltxmem::TensorView<const T, 2> input, const ltxmem::LinearEpilogue<T>& epilogue,
                   ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto v = arena.take<T, 2>("values", {input.extent(0), inner()});
    const auto head_gate = gate(backend, input, arena);
    values(backend, input, v, arena);
    if (!head_gate.empty()) {
      backend.for_each({"gate heads", v.size(), 2 * v.size() * static_cast<std::int64_t>(sizeof(T))}, head_gate.size(),
                       detail::GateHeads<T>{head_gate, v});
    }
    output(backend, v, epilogue, y, arena);
  }

  /// The attention itself, with this layer's heads filled in.
  ltxmem::TiledAttention<T, Backend> tiled(ltxmem::TiledAttentionOptions options) const {
    options.heads = heads();
    return ltxmem::TiledAttention<T, Backend>(options);
  }

 private:
  using Output = ltxmem::TensorParallelLinear<ModelLinear<T, Backend>, Ranks>;

  static ModelLinear<T, Backend> projection(const WeightScope& weights, const char* module, std::int64_t outputs,
                                            std::int64_t inputs, const HeadShare<Ranks>& share) {
    return make_linear<T, Backend>(weights.linear_outputs(module, outputs, inputs, share.of(outputs)));
  }

  /// rows = rope(norm(layer(input))), the norm by given factors or those of whole rows.
  void project(Backend& backend, const ModelLinear<T, Backend>& layer, const ltxmem::WeightVector& weight,
               ltxmem::TensorView<const T, 2> input, const ltxmem::RotaryTable& rotary, ltxmem::TensorView<T, 2> rows,
               ltxmem::Arena& arena, RowFactors factors) const {
    const auto scope = arena.scope();
    if (has_heads()) layer.apply(backend, input, ltxmem::LinearEpilogue<T>{}, rows, arena);
    if (factors.empty() && ranks_->size() > 1) {
      const auto of_all = arena.take<float, 1>("norm factors", {rows.extent(0)});
      row_factors(backend, rows, of_all, arena);
      factors = of_all;
    }
    if (has_heads()) backend.head_norm(rows, head_norm(weight, rotary, factors));
  }

  /// What the norm multiplies rows by of which this rank has its heads.
  void row_factors(Backend& backend, ltxmem::TensorView<const T, 2> rows, ltxmem::TensorView<float, 1> factors,
                   ltxmem::Arena& arena) const {
    ltxmem::head_norm_factors(backend, *ranks_, rows, norm_width_, options_.eps, factors, arena);
  }

  ltxmem::HeadNormArguments head_norm(const ltxmem::WeightVector& weight, const ltxmem::RotaryTable& rotary,
                                      RowFactors factors) const {
    ltxmem::HeadNormArguments arguments{.heads = heads(), .eps = options_.eps, .weight = weight, .rotary = rotary};
    arguments.rotary.first_slot = first_head_ * head_dim() / 2;
    arguments.row_factors = factors;
    return arguments;
  }

  void norm_factors(Backend& backend, const ModelLinear<T, Backend>& layer, ltxmem::TensorView<const T, 2> input,
                    ltxmem::TensorView<float, 1> factors, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto rows = arena.take<T, 2>("projected rows", {input.extent(0), inner()});
    if (has_heads()) layer.apply(backend, input, ltxmem::LinearEpilogue<T>{}, rows, arena);
    row_factors(backend, rows, factors, arena);
  }

  AttentionOptions options_;  // with the heads of the rank, or of a group of them
  Ranks* ranks_;
  std::int64_t norm_width_;
  std::int64_t first_head_;
  ModelLinear<T, Backend> q_;
  ModelLinear<T, Backend> k_;
  ModelLinear<T, Backend> v_;
  Output out_;
  std::optional<ModelLinear<T, Backend>> gate_;
  ltxmem::WeightVector q_norm_;
  ltxmem::WeightVector k_norm_;
};

}  // namespace ltx2
