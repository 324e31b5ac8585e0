// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/attention/ulysses_attention.hpp"
#include "ltxmem/stores/placed_row_store.hpp"
#include "model/attention.hpp"
#include "model/feed_forward.hpp"
#include "model/modulation.hpp"
#include "runtime/scheme.hpp"
#include "transformer/stream.hpp"
#include "transformer/token_shares.hpp"

/// What one block does to one stream by itself: self attention, text attention, feed-forward, tile by tile.

namespace ltx2 {

/// How many tokens are worked on at once. Multiples of the quanta; no bit of a result depends on them.
struct Tiles {
  std::int64_t queries = 4096;
  std::int64_t keys = 8192;
  std::int64_t ffn_chunk = 4096;
};

/// Keys and values of one attention.
template <ltxmem::Element T, class Backend>
struct KeyValues {
  ltxmem::PlacedRowStore<T, Backend> keys;
  ltxmem::PlacedRowStore<T, Backend> values;
};

/// Order of the vectors in a stream's scale_shift_table.
enum OwnRow : std::int64_t {
  shift_self,
  scale_self,
  gate_self,
  shift_ffn,
  scale_ffn,
  gate_ffn,
  shift_text,
  scale_text,
  gate_text,
};

/// Order of the vectors in a stream's cross-modal table; the fifth is the gate.
enum CrossRow : std::int64_t { scale_a2v, shift_a2v, scale_v2a, shift_v2a, cross_rows };

namespace detail {

/// Additive bias of a mask value: log(m), and the most negative usable number for m <= 0. It stays finite when the
/// attention changes to base 2, so that a row that sees nothing spreads evenly over all keys, like the reference.
struct LogMask {
  ltxmem::TensorView<float, 2> mask;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    float& value = mask(i / mask.extent(1), i % mask.extent(1));
    value = value > 0.0F ? std::log(value) : -0.5F * std::numeric_limits<float>::max();
  }
};

}  // namespace detail

/// The weights of one stream in one block.
///
/// Ranks     that share the heads have all of x, and their own heads of keys, values and attended rows; those
///           that share the tokens have all of a head
/// Memory    rows, keys_values: buffers that stay until the caller's scope ends; the others: scratch of one tile
/// Source    docs/ltx2/transformer.md 7; the row order of the tables is given there
template <ltxmem::Element T, ltxmem::Backend<T> Backend, ltxmem::Communicator<Backend> Ranks>
class StreamBlock {
 public:
  using Layer = Attention<T, Backend, Ranks>;

  StreamBlock(const WeightScope& block, const TransformerConfig& config, const StreamShape& shape,
              const HeadShare<Ranks>& share)
      : width_(shape.width()),
        eps_(static_cast<float>(config.norm_eps)),
        self_(block.scope(shape.prefix + "attn1"),
              {shape.heads, shape.head_dim, shape.width(), shape.width(), config.gated_attention, eps_}, share),
        text_(block.scope(shape.prefix + "attn2"),
              {shape.heads, shape.head_dim, shape.width(), shape.context_width, config.gated_attention, eps_}, share),
        feed_forward_(block.scope(shape.prefix + "ff"), shape.width(), share),
        table_(block.matrix(shape.prefix + "scale_shift_table", config.adaln_rows(), shape.width())),
        cross_table_(block.matrix(shape.cross_table, 5, shape.width())) {
    if (config.text_modulation) {
      prompt_table_ = block.matrix(shape.prefix + "prompt_scale_shift_table", 2, shape.width());
    }
  }

  /// The block's modulation: its tables added to what the timestep networks gave.
  struct Rows {
    ModulationRows own;    ///< see OwnRow; no text rows in 2.0
    ModulationRows cross;  ///< see CrossRow
    ltxmem::TokenRows cross_gate;
    ltxmem::TokenRows prompt_shift;
    ltxmem::TokenRows prompt_scale;
  };

  Rows rows(Backend& backend, const Stream<T, Backend>& stream, ltxmem::Arena& arena) const {
    Rows rows;
    rows.own = {sum(backend, table_, stream.modulation.values, arena), {}, width_};
    if (!stream.cross_gate.empty()) {
      rows.cross = {
          sum(backend, cross_table_.row_slice(0, cross_rows), stream.cross_modulation.values, arena), {}, width_};
      rows.cross_gate.rows = sum(backend, cross_table_.row_slice(cross_rows, 1), stream.cross_gate, arena);
    }
    if (!prompt_table_.empty()) {
      const auto prompt = sum(backend, prompt_table_, stream.prompt_modulation, arena);
      rows.prompt_shift.rows = prompt.columns(0, width_);
      rows.prompt_scale.rows = prompt.columns(width_, width_);
    }
    return rows;
  }

  /// normed [count, D] = RMS(x) * (1 + scale) + shift for a tile of tokens, in the arena.
  ltxmem::TensorView<const T, 2> modulated(Backend& backend, ltxmem::TensorView<const T, 2> x,
                                           const TokenConditions& at, const ltxmem::TokenRows& scale,
                                           const ltxmem::TokenRows& shift, ltxmem::Arena& arena) const {
    const auto normed = arena.take<T, 2>("normed", x.extents());
    ltxmem::NormArguments<T> arguments;
    arguments.eps = eps_;
    if (!scale.empty()) {
      arguments.scale = at.of(scale);
      arguments.shift = at.of(shift);
    }
    backend.template norm<T>(x, arguments, normed);
    return normed;
  }

  /// Keys and values that an attention makes of all tokens of this stream, turned by the stream's own rotary embedding
  /// or the cross-modal one, in a space of the workspace. Read later in tiles of tiles.keys.
  KeyValues<T, Backend> keys_values(Backend& backend, const Layer& attention, Stream<T, Backend>& stream,
                                    const ltxmem::TokenRows& scale, const ltxmem::TokenRows& shift,
                                    ltxmem::RotaryTable TokenConditions::*rotary, const Tiles& tiles,
                                    ltxmem::MemorySpace space, ltxmem::Workspace& workspace,
                                    ltxmem::TensorView<const float, 1> factors = {}) const {
    const ltxmem::Extents<2> extents{stream.tokens(), attention.inner()};
    KeyValues<T, Backend> made{{backend, "keys", extents, tiles.keys, space, workspace},
                               {backend, "values", extents, tiles.keys, space, workspace}};
    make_keys_values(backend, attention, stream, scale, shift, rotary, tiles, made, workspace.device, factors);
    return made;
  }

  /// The same where their rows are already.
  void make_keys_values(Backend& backend, const Layer& attention, Stream<T, Backend>& stream,
                        const ltxmem::TokenRows& scale, const ltxmem::TokenRows& shift,
                        ltxmem::RotaryTable TokenConditions::*rotary, const Tiles& tiles, KeyValues<T, Backend>& made,
                        ltxmem::Arena& arena, ltxmem::TensorView<const float, 1> factors = {}) const {
    const std::int64_t tile = std::min(tiles.queries, tiles.keys);
    ltxmem::read_tiles(backend, stream.x, tile, [&](std::int64_t begin, ltxmem::TensorView<const T, 2> x) {
      const auto scope = arena.scope();
      const std::int64_t count = x.extent(0);
      const TokenConditions at = stream.conditions(backend, begin, count, arena);
      const auto input = modulated(backend, x, at, scale, shift, arena);
      attention.keys(backend, input, at.*rotary, made.keys.stage(backend, begin, count), arena,
                     factors.empty() ? factors : factors.slice(0, begin, count));
      made.keys.store(backend, begin, count);
      attention.values(backend, input, made.values.stage(backend, begin, count), arena);
      made.values.store(backend, begin, count);
    });
  }

  KeyValues<T, Backend> self_keys_values(Backend& backend, Stream<T, Backend>& stream, const Rows& rows,
                                         const Tiles& tiles, ltxmem::MemorySpace space,
                                         ltxmem::Workspace& workspace) const {
    return keys_values(backend, self_, stream, rows.own[scale_self], rows.own[shift_self], &TokenConditions::rotary,
                       tiles, space, workspace);
  }

  /// Keys and values of self attention for the tokens of all ranks, on the device: each rank makes those of its own.
  KeyValues<T, Backend> self_keys_values_of_all(Backend& backend, Stream<T, Backend>& stream, const Rows& rows,
                                                const Tiles& tiles, const TokenShares<Ranks>& shares,
                                                ltxmem::Arena& arena) const {
    const auto all = arena.take<T, 2>("keys and values", {shares.audio.total(), 2 * self_.inner()});
    KeyValues<T, Backend> own = side_by_side(shares.own_audio(all));
    make_keys_values(backend, self_, stream, rows.own[scale_self], rows.own[shift_self], &TokenConditions::rotary,
                     tiles, own, arena);
    shares.gather_audio(backend, all);
    return side_by_side(all);
  }

  /// Keys and values of which every row holds a token's one behind the other, so that they go to a rank together.
  static KeyValues<T, Backend> side_by_side(ltxmem::TensorView<T, 2> rows) {
    const std::int64_t width = rows.extent(1) / 2;
    return {ltxmem::PlacedRowStore<T, Backend>(rows.columns(0, width)),
            ltxmem::PlacedRowStore<T, Backend>(rows.columns(width, width))};
  }

  /// Keys and values of the text, modulated in 2.3; on the device.
  KeyValues<T, Backend> text_keys_values(Backend& backend, const Stream<T, Backend>& stream, const Rows& rows,
                                         ltxmem::Arena& arena) const {
    const ltxmem::Extents<2> extents{stream.context.extent(0), text_.inner()};
    const auto k = arena.take<T>("text keys", extents);
    const auto v = arena.take<T>("text values", extents);
    const auto scope = arena.scope();
    ltxmem::TensorView<const T, 2> context = stream.context;
    if (!rows.prompt_scale.empty()) {
      const auto modulated_context = arena.take<T, 2>("modulated context", context.extents());
      ltxmem::NormArguments<T> arguments;
      arguments.kind = ltxmem::NormKind::none;
      arguments.scale = rows.prompt_scale;
      arguments.shift = rows.prompt_shift;
      backend.template norm<T>(context, arguments, modulated_context);
      context = modulated_context;
    }
    text_.keys(backend, context, {}, k, arena);
    text_.values(backend, context, v, arena);
    return {ltxmem::PlacedRowStore<T, Backend>(k), ltxmem::PlacedRowStore<T, Backend>(v)};
  }

  /// The attended rows of self attention for all tokens, before to_out: one group of heads after the other, each with
  /// keys and values of its own. On the device, until the caller's scope ends.
  ///
  /// Memory    N * D elements for the rows, 2 N D / groups for keys and values, 2 N floats for the norms, and scratch
  /// Cost      queries and keys are projected twice, because their norms need whole rows first
  ltxmem::PlacedRowStore<T, Backend> attend_by_groups(Backend& backend, Stream<T, Backend>& stream, const Rows& rows,
                                                      const Tiles& tiles, ltxmem::MemorySpace space,
                                                      ltxmem::Workspace& workspace) const {
    ltxmem::Arena& arena = workspace.device;
    const std::int64_t tokens = stream.tokens();
    ltxmem::PlacedRowStore<T, Backend> attended(backend, "attention output", {tokens, self_.inner()}, tiles.queries,
                                                ltxmem::MemorySpace::device, workspace);
    const auto scope = arena.scope();
    const NormFactors factors = norm_factors(backend, stream, rows, tiles, arena);
    const std::int64_t heads = heads_per_group(self_.heads());
    ltxmem::repeat(backend, self_.heads() / heads, [&](std::int64_t index) {
      const ltxmem::Step step(backend, "head group", index);
      const auto group_scope = arena.scope();
      const auto off_device_scope = workspace.off_device_scope();
      const Layer group = self_.group(index * heads, heads);
      KeyValues<T, Backend> made = keys_values(backend, group, stream, rows.own[scale_self], rows.own[shift_self],
                                               &TokenConditions::rotary, tiles, space, workspace, factors.keys);
      auto columns = attended.columns(index * group.inner(), group.inner());
      for_self_inputs(backend, stream, rows, tiles, arena, [&](const TokenConditions& at, Input input) {
        const std::int64_t count = input.extent(0);
        group.attend_heads(backend, input, at.rotary, factors.of_queries(at.begin, count), made.keys, made.values,
                           log_mask(backend, stream, at.begin, count, arena), tiles.keys,
                           columns.stage(backend, at.begin, count), arena);
        columns.store(backend, at.begin, count);
      });
    });
    return attended;
  }

  /// The attended rows of the tokens of this rank, before to_out, until the caller's scope ends. Keys and values of all
  /// ranks go round in a ring on the device, or ranks trade their tokens for heads, with a ring between their rows.
  /// Where the scheme wants keys and values elsewhere it is the attended rows that lie there, and only one group of
  /// heads is worked on at a time, as in E2.
  ///
  /// Memory    N * D elements for the rows of this rank; for all heads or a group of them two shards of keys and values
  ///           and the fp32 state of all local queries, or keys and values of this rank and what UlyssesAttention
  ///           takes; the group's rows once more where they do not stay on the device
  /// Numerics  those of RingAttention or UlyssesAttention: equal bits in every run with as many ranks
  ltxmem::PlacedRowStore<T, Backend> attend_over_ranks(Backend& backend, Stream<T, Backend>& stream, const Rows& rows,
                                                       const Tiles& tiles, const SchemeTable& scheme,
                                                       TokenShares<Ranks>& shares, ltxmem::Workspace& workspace) const {
    ltxmem::Arena& arena = workspace.device;
    const std::int64_t tokens = stream.tokens();
    const bool stays = scheme.keys_values == ltxmem::MemorySpace::device;
    const bool by_groups = scheme.order == AttentionOrder::groups || !stays;
    ltxmem::PlacedRowStore<T, Backend> attended(backend, "attention output", {tokens, self_.inner()}, tiles.queries,
                                                scheme.keys_values, workspace);
    const auto scope = arena.scope();
    NormFactors factors;
    if (by_groups) factors = norm_factors(backend, stream, rows, tiles, arena);
    const std::int64_t heads = by_groups ? heads_per_group(self_.heads(), shares.traders.size()) : self_.heads();
    // A rank without heads has no groups, but a part in the norms, which groups find made.
    const std::int64_t groups = by_groups ? self_.heads() / heads : 1;
    ltxmem::repeat(backend, groups, [&](std::int64_t index) {
      const ltxmem::Step step(backend, "head group", index);
      const auto group_scope = arena.scope();
      const Layer group = self_.group(index * heads, heads);
      const std::int64_t width = group.inner();
      ltxmem::TensorView<float, 2> gate;
      if (group.gated()) gate = arena.take<float, 2>("head gate", {tokens, heads});
      auto columns = attended.columns(index * width, width);
      const auto q = stays ? columns.stage(backend, 0, tokens) : arena.take<T, 2>("queries", {tokens, width});
      const auto project = [&](ltxmem::TensorView<T, 2> k, ltxmem::TensorView<T, 2> v) {
        for_self_inputs(backend, stream, rows, tiles, arena, [&](const TokenConditions& at, Input input) {
          const std::int64_t begin = at.begin;
          const std::int64_t count = input.extent(0);
          group.keys(backend, input, at.rotary, k.rows(begin, count), arena, factors.of_keys(begin, count));
          group.values(backend, input, v.rows(begin, count), arena);
          group.queries(backend, input, at.rotary, q.rows(begin, count), arena, factors.of_queries(begin, count));
          if (group.gated()) group.gate(backend, input, gate.rows(begin, count), arena);
        });
      };
      const auto extras = [&] {
        ltxmem::AttentionExtras given;
        given.gate = gate;
        given.mask = log_mask(backend, stream, 0, tokens, arena);
        return given;
      };
      const ltxmem::TiledAttentionOptions options{.heads = heads, .query_tile = tiles.queries, .key_tile = tiles.keys};
      const ltxmem::Partition& video = shares.video;
      if (shares.trade_heads()) {
        const auto k = arena.take<T, 2>("keys", {tokens, width});
        const auto v = arena.take<T, 2>("values", {tokens, width});
        project(k, v);
        if (!group.has_heads()) return;
        const ltxmem::UlyssesAttention<T, Backend, Ranks, Ranks> attention(options);
        attention(backend, shares.traders, shares.ring, q, k, v, video, video, q, arena, extras());
      } else {
        ltxmem::RingRowStore<T, Ranks> ring(shares.ranks, video.counts(), 2 * width, arena);
        project(ring.local().columns(0, width), ring.local().columns(width, width));
        if (!group.has_heads()) return;
        const ltxmem::RingAttention<T, Backend, Ranks> attention(options);
        attention(backend, q, ring, video, video, q, arena, extras());
      }
      if (stays) return;
      ltxmem::write_tiles(backend, columns, tiles.queries, [&](std::int64_t begin, ltxmem::TensorView<T, 2> part) {
        backend.template copy<T, T>(q.rows(begin, part.extent(0)), part);
      });
    });
    return attended;
  }

  /// x += gate * to_out(attended) for a tile of queries: what attend_by_groups and attend_over_ranks leave to do.
  void take_attended(Backend& backend, const Rows& rows, ltxmem::TensorView<const T, 2> attended,
                     const TokenConditions& at, ltxmem::TensorView<T, 2> x, ltxmem::Arena& arena) const {
    self_.output(backend, attended, gated_residual(x, at.of(rows.own[gate_self])), x, arena);
  }

  /// x += gate * SelfAttention(x) for a tile of queries; without keys each token passes its own value on.
  void self_attention(Backend& backend, const Stream<T, Backend>& stream, const Rows& rows, KeyValues<T, Backend>* made,
                      const Tiles& tiles, const TokenConditions& at, ltxmem::TensorView<T, 2> x,
                      ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto input = modulated(backend, x, at, rows.own[scale_self], rows.own[shift_self], arena);
    const ltxmem::LinearEpilogue<T> epilogue = gated_residual(x, at.of(rows.own[gate_self]));
    if (made == nullptr) {
      self_.pass_values(backend, input, epilogue, x, arena);
      return;
    }
    self_.attend(backend, input, at.rotary, made->keys, made->values,
                 log_mask(backend, stream, at.begin, x.extent(0), arena), tiles.keys, epilogue, x, arena);
  }

  /// x += gate * TextAttention(x) for a tile of queries; modulated and gated in 2.3 only.
  void text_attention(Backend& backend, const Rows& rows, KeyValues<T, Backend>& made, const Tiles& tiles,
                      const TokenConditions& at, ltxmem::TensorView<T, 2> x, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const bool is_modulated = !prompt_table_.empty();
    const auto input = is_modulated ? modulated(backend, x, at, rows.own[scale_text], rows.own[shift_text], arena)
                                    : modulated(backend, x, at, {}, {}, arena);
    const ltxmem::LinearEpilogue<T> epilogue =
        gated_residual(x, is_modulated ? at.of(rows.own[gate_text]) : ltxmem::TokenRows{});
    text_.attend(backend, input, {}, made.keys, made.values, {}, tiles.keys, epilogue, x, arena);
  }

  /// x += gate * FF(x) for a tile of tokens.
  void feed_forward(Backend& backend, const Rows& rows, const Tiles& tiles, const TokenConditions& at,
                    ltxmem::TensorView<T, 2> x, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto input = modulated(backend, x, at, rows.own[scale_ffn], rows.own[shift_ffn], arena);
    feed_forward_(backend, input, tiles.ffn_chunk, gated_residual(x, at.of(rows.own[gate_ffn])), x, arena);
  }

  static ltxmem::LinearEpilogue<T> gated_residual(ltxmem::TensorView<T, 2> x, const ltxmem::TokenRows& gate) {
    ltxmem::LinearEpilogue<T> epilogue;
    epilogue.residual = x;
    epilogue.gate = gate;
    return epilogue;
  }

 private:
  using Input = ltxmem::TensorView<const T, 2>;

  /// What the norms of self attention multiply queries and keys by; empty where the heads at work are all there are.
  struct NormFactors {
    ltxmem::TensorView<const float, 1> queries{};
    ltxmem::TensorView<const float, 1> keys{};

    auto of_queries(std::int64_t begin, std::int64_t count) const { return part(queries, begin, count); }
    auto of_keys(std::int64_t begin, std::int64_t count) const { return part(keys, begin, count); }

   private:
    static auto part(ltxmem::TensorView<const float, 1> all, std::int64_t begin, std::int64_t count) {
      return all.empty() ? all : all.slice(0, begin, count);
    }
  };

  /// fn(conditions, input of self attention) for tiles of tokens.
  template <class Fn>
  void for_self_inputs(Backend& backend, Stream<T, Backend>& stream, const Rows& rows, const Tiles& tiles,
                       ltxmem::Arena& arena, const Fn& fn) const {
    ltxmem::read_tiles(backend, stream.x, tiles.queries, [&](std::int64_t begin, Input x) {
      const auto scope = arena.scope();
      const TokenConditions at = stream.conditions(backend, begin, x.extent(0), arena);
      fn(at, modulated(backend, x, at, rows.own[scale_self], rows.own[shift_self], arena));
    });
  }

  NormFactors norm_factors(Backend& backend, Stream<T, Backend>& stream, const Rows& rows, const Tiles& tiles,
                           ltxmem::Arena& arena) const {
    const auto queries = arena.take<float, 1>("query factors", {stream.tokens()});
    const auto keys = arena.take<float, 1>("key factors", {stream.tokens()});
    for_self_inputs(backend, stream, rows, tiles, arena, [&](const TokenConditions& at, Input input) {
      const std::int64_t count = input.extent(0);
      self_.query_factors(backend, input, queries.slice(0, at.begin, count), arena);
      self_.key_factors(backend, input, keys.slice(0, at.begin, count), arena);
    });
    return {queries, keys};
  }

  static ltxmem::TensorView<const float, 2> sum(Backend& backend, const ltxmem::WeightMatrix& table,
                                                ltxmem::TensorView<const float, 2> addend, ltxmem::Arena& arena) {
    const auto rows = arena.take<float>("block modulation", addend.extents());
    add_table(backend, table, addend, rows);
    return rows;
  }

  static ltxmem::TensorView<const float, 2> log_mask(Backend& backend, const Stream<T, Backend>& stream,
                                                     std::int64_t begin, std::int64_t count, ltxmem::Arena& arena) {
    if (stream.mask.empty()) return {};
    const auto mask = arena.take<float, 2>("attention mask", {count, stream.mask.extent(1)});
    backend.copy(stream.mask.rows(stream.first + begin, count), mask);
    backend.for_each({"log mask", 20 * mask.size(), 8 * mask.size()}, mask.size(), detail::LogMask{mask});
    return mask;
  }

  std::int64_t width_;
  float eps_;
  Layer self_;
  Layer text_;
  FeedForward<T, Backend, Ranks> feed_forward_;
  ltxmem::WeightMatrix table_;
  ltxmem::WeightMatrix cross_table_;
  ltxmem::WeightMatrix prompt_table_;
};

}  // namespace ltx2
