// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/transformer_config.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/parallel/partition.hpp"
#include "ltxmem/stores/placed_row_store.hpp"
#include "model/linear.hpp"
#include "model/modulation.hpp"
#include "model/rotary.hpp"
#include "model/timestep.hpp"
#include "transformer/inputs.hpp"

/// The two token streams of the transformer, video and audio: the same program with other widths and names.

namespace ltx2 {

enum class StreamKind : std::uint8_t { video, audio };

/// Sizes and names of one stream.
struct StreamShape {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t context_width = 0;  ///< what text attention reads
  std::string prefix;              ///< of the stream's tensors: "" or "audio_"
  const char* cross_modulation = "";
  const char* cross_gate = "";
  const char* cross_table = "";
  RotaryGrid rotary;

  std::int64_t width() const noexcept { return heads * head_dim; }
};

inline StreamShape stream_shape(const TransformerConfig& config, StreamKind kind) {
  if (kind == StreamKind::video) {
    return {config.heads,
            config.head_dim,
            config.in_channels,
            config.out_channels,
            config.cross_attention_dim,
            "",
            "av_ca_video_scale_shift_adaln_single",
            "av_ca_a2v_gate_adaln_single",
            "scale_shift_table_a2v_ca_video",
            {config.width(),
             {config.max_positions.begin(), config.max_positions.end()},
             config.rope_theta,
             config.rope_double,
             config.rope}};
  }
  return {config.heads,
          config.audio_head_dim,
          config.audio_in_channels,
          config.audio_out_channels,
          config.audio_cross_attention_dim,
          "audio_",
          "av_ca_audio_scale_shift_adaln_single",
          "av_ca_v2a_gate_adaln_single",
          "scale_shift_table_a2v_ca_audio",
          {config.audio_width(), {config.audio_max_position}, config.rope_theta, config.rope_double, config.rope}};
}

/// The rotary embedding of both cross-modal attentions: time alone, so that sound and picture align by seconds.
inline RotaryGrid cross_modal_grid(const TransformerConfig& config) {
  return {config.audio_width(),
          {std::max(config.max_positions[0], config.audio_max_position)},
          config.rope_theta,
          config.rope_double,
          config.rope};
}

/// What conditions a tile of tokens: which modulation row each takes, and where it is.
struct TokenConditions {
  std::int64_t begin = 0;
  ltxmem::TensorView<const std::int32_t, 1> timestep;  ///< [count]; empty: every token takes row 0
  ltxmem::RotaryTable rotary;
  ltxmem::RotaryTable cross_rotary;

  /// Rows that exist once per distinct timestep, as these tokens take them.
  ltxmem::TokenRows of(const ltxmem::TokenRows& rows) const { return {rows.rows, timestep}; }
};

/// One stream during a forward pass: the tokens and what conditions them, in the workspace. Numbers per token other
/// than x stay where the caller has them, in host memory, and are brought tile by tile.
template <ltxmem::Element T, class Backend>
struct Stream {
  explicit Stream(ltxmem::PlacedRowStore<T, Backend> tokens) : x(std::move(tokens)) {}

  ltxmem::PlacedRowStore<T, Backend> x;                  ///< [N, D], updated in place by the blocks; of several ranks
                                                         ///< each has rows of its own
  std::int64_t first = 0;                                ///< position of row 0 among the tokens of all ranks
  ModulationRows modulation;                             ///< 6 or 9 rows per distinct timestep, without a block's table
  ModulationRows cross_modulation;                       ///< 4 rows likewise
  ltxmem::TensorView<const float, 2> cross_gate;         ///< [1, D]
  ltxmem::TensorView<const float, 2> prompt_modulation;  ///< [1, 2 D]; empty where text is not modulated
  ltxmem::TensorView<const float, 2> embedding;          ///< [distinct, D], for the output head
  ltxmem::RotaryTable rotary;                            ///< without coordinates
  ltxmem::RotaryTable cross_rotary;                      ///< likewise; empty without another modality
  ltxmem::TensorView<const T, 2> context;                ///< [S, context_width]
  ltxmem::TensorView<const float, 2> mask;               ///< of all tokens, [all, all] in host memory, or empty
  ltxmem::TensorView<const std::int32_t, 1> timestep;    ///< of all tokens, in host memory, or empty
  const TokenPositions* positions = nullptr;             ///< of all tokens, in host memory
  bool enabled = true;

  std::int64_t tokens() const { return x.rows(); }

  /// Of rows of x, in the arena.
  TokenConditions conditions(Backend& backend, std::int64_t begin, std::int64_t count, ltxmem::Arena& arena) const {
    TokenConditions tile;
    tile.begin = begin;
    if (!timestep.empty()) {
      const auto index = arena.take<std::int32_t, 2>("timestep index", {1, count});
      backend.copy(timestep.slice(0, first + begin, count).reshape(ltxmem::Extents<2>{1, count}), index);
      tile.timestep = index[0];
    }
    const auto rows = upload_rows(backend, *positions, first + begin, count, arena);
    tile.rotary = place_tokens(rotary, rows);
    tile.cross_rotary = place_tokens(cross_rotary, rows);
    return tile;
  }
};

/// The weights of a stream outside the blocks: input projection, timestep networks, caption projection, output head.
///
/// Memory    begin: x in the space that is asked for, context, the rotary tables, and a few rows per distinct timestep;
///           stays until the caller's scopes end. Everything else is scratch of one tile
/// Source    docs/ltx2/transformer.md 4, 6 and 10
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class StreamEnds {
 public:
  StreamEnds(const WeightScope& weights, const TransformerConfig& config, StreamKind kind)
      : shape_(stream_shape(config, kind)),
        cross_grid_(cross_modal_grid(config)),
        timestep_scale_(static_cast<float>(config.timestep_scale)),
        gate_scale_(static_cast<float>(config.av_ca_timestep_scale)),
        eps_(static_cast<float>(config.norm_eps)),
        in_(make_linear<T, Backend>(linear(weights, "patchify_proj", shape_.width(), shape_.in_channels))),
        out_(make_linear<T, Backend>(linear(weights, "proj_out", shape_.out_channels, shape_.width()))),
        table_(weights.matrix(shape_.prefix + "scale_shift_table", 2, shape_.width())),
        adaln_(weights.scope(shape_.prefix + "adaln_single"), shape_.width(), config.adaln_rows()),
        cross_adaln_(weights.scope(shape_.cross_modulation), shape_.width(), 4),
        gate_adaln_(weights.scope(shape_.cross_gate), shape_.width(), 1) {
    if (config.text_modulation) {
      prompt_adaln_.emplace(weights.scope(shape_.prefix + "prompt_adaln_single"), shape_.width(), 2);
    }
    if (config.caption_projection) {
      caption_channels_ = config.caption_channels;
      caption_.emplace(
          make_linear<T, Backend>(
              linear(weights, "caption_projection.linear_1", shape_.width(), config.caption_channels)),
          make_linear<T, Backend>(linear(weights, "caption_projection.linear_2", shape_.width(), shape_.width())));
    }
  }

  const StreamShape& shape() const noexcept { return shape_; }

  /// The stream at the entrance of the first block, with those tokens that are this rank's own. other_sigma: noise
  /// level of the other modality, if there is one.
  Stream<T, Backend> begin(Backend& backend, const StreamInput& input, const ltxmem::Segment& own,
                           std::optional<float> other_sigma, std::int64_t tile, ltxmem::MemorySpace space,
                           ltxmem::Workspace& workspace) const {
    check(input);
    ltxmem::Arena& arena = workspace.device;
    Stream<T, Backend> stream({backend, "tokens", {own.count, shape_.width()}, tile, space, workspace});
    stream.first = own.begin;
    stream.mask = input.attention_mask;
    stream.timestep = input.timestep_index;
    stream.positions = input.positions;
    stream.enabled = input.enabled;
    project_latent(backend, input.latent.rows(own.begin, own.count), tile, stream.x, arena);
    condition(backend, input, other_sigma, stream, arena);
    const ltxmem::TensorView<const std::int32_t, 2> later(nullptr, {0, input.positions->axes()});
    stream.rotary = rotary_table(backend, shape_.rotary, *input.positions, later, arena);
    if (other_sigma) {
      stream.cross_rotary = shape_.rotary == cross_grid_
                                ? stream.rotary
                                : rotary_table(backend, cross_grid_, *input.positions, later, arena);
    }
    stream.context = project_context(backend, input.context, arena);
    return stream;
  }

  /// velocity = proj_out(LayerNorm(x) * (1 + scale) + shift), scale and shift from the table and the embedded timestep.
  /// Of the velocities of all tokens only those of the stream's own are written.
  void finish(Backend& backend, Stream<T, Backend>& stream, std::int64_t tile, ltxmem::TensorView<float, 2> velocity,
              ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto rows = arena.take<float, 2>("output modulation", {stream.embedding.extent(0), 2 * shape_.width()});
    add_table(backend, table_, stream.embedding, rows);
    const ModulationRows modulation{rows, {}, shape_.width()};
    ltxmem::read_tiles(backend, stream.x, tile, [&](std::int64_t begin, ltxmem::TensorView<const T, 2> x) {
      const auto tile_scope = arena.scope();
      const std::int64_t count = x.extent(0);
      const TokenConditions at = stream.conditions(backend, begin, count, arena);
      const auto normed = arena.take<T, 2>("normed", {count, shape_.width()});
      const auto result = arena.take<float, 2>("velocity", {count, shape_.out_channels});
      ltxmem::NormArguments<T> arguments;
      arguments.kind = ltxmem::NormKind::layer;
      arguments.eps = eps_;
      arguments.shift = at.of(modulation[0]);
      arguments.scale = at.of(modulation[1]);
      backend.template norm<T>(x, arguments, normed);
      out_.apply(backend, normed, ltxmem::LinearEpilogue<float>{}, result, arena);
      backend.template copy<float, float>(result, velocity.rows(stream.first + begin, count));
    });
  }

 private:
  LinearWeights linear(const WeightScope& weights, const char* module, std::int64_t outputs,
                       std::int64_t inputs) const {
    return weights.linear(shape_.prefix + module, outputs, inputs);
  }

  void check(const StreamInput& input) const {
    const char* name = shape_.prefix.empty() ? "video" : "audio";
    const std::int64_t tokens = input.tokens();
    ltxmem::expects(tokens > 0, name, ": no tokens");
    ltxmem::expects(input.latent.extent(1) == shape_.in_channels, name, ": latent channels ", input.latent.extent(1),
                    ", expected ", shape_.in_channels);
    ltxmem::expects(
        !input.timesteps.empty() &&
            (input.timestep_index.empty() ? input.timesteps.size() == 1 : input.timestep_index.extent(0) == tokens),
        name, ": ", input.timesteps.size(), " timesteps for ", input.timestep_index.extent(0), " of ", tokens,
        " tokens");
    ltxmem::expects(input.positions != nullptr && input.positions->tokens() == tokens &&
                        input.positions->axes() == shape_.rotary.axes(),
                    name, ": positions do not fit ", tokens, " tokens on ", shape_.rotary.axes(), " axes");
    const std::int64_t context = caption_ ? caption_channels_ : shape_.context_width;
    ltxmem::expects(input.context.extent(0) > 0 && input.context.extent(1) == context, name, ": context ",
                    input.context.extent(0), " x ", input.context.extent(1), ", expected width ", context);
    ltxmem::expects(
        input.attention_mask.empty() || input.attention_mask.extents() == ltxmem::Extents<2>{tokens, tokens}, name,
        ": attention mask ", input.attention_mask.extent(0), " x ", input.attention_mask.extent(1), ", tokens ",
        tokens);
  }

  void project_latent(Backend& backend, ltxmem::TensorView<const float, 2> latent, std::int64_t tile,
                      ltxmem::PlacedRowStore<T, Backend>& x, ltxmem::Arena& arena) const {
    ltxmem::write_tiles(backend, x, tile, [&](std::int64_t begin, ltxmem::TensorView<T, 2> rows) {
      const auto scope = arena.scope();
      const std::int64_t count = rows.extent(0);
      const auto part = arena.take<T, 2>("latent", {count, shape_.in_channels});
      backend.copy(latent.rows(begin, count), part);
      in_.apply(backend, part, ltxmem::LinearEpilogue<T>{}, rows, arena);
    });
  }

  void condition(Backend& backend, const StreamInput& input, std::optional<float> other_sigma,
                 Stream<T, Backend>& stream, ltxmem::Arena& arena) const {
    std::vector<float> tau = input.timesteps;
    for (float& value : tau) value *= timestep_scale_;
    const std::int64_t width = shape_.width();
    const auto embedding = arena.take<float, 2>("embedded timestep", {input_rows(tau), width});
    stream.embedding = embedding;
    stream.modulation = {modulate(backend, adaln_, tau, embedding, arena), {}, width};
    if (prompt_adaln_) {
      stream.prompt_modulation = modulate(backend, *prompt_adaln_, {timestep_scale_ * input.sigma}, {}, arena);
    }
    if (other_sigma) {
      stream.cross_modulation = {modulate(backend, cross_adaln_, tau, {}, arena), {}, width};
      stream.cross_gate = modulate(backend, gate_adaln_, {gate_scale_ * *other_sigma}, {}, arena);
    }
  }

  static std::int64_t input_rows(const std::vector<float>& tau) { return static_cast<std::int64_t>(tau.size()); }

  /// The modulation rows of one network; its embedding goes to the given buffer, or to scratch when that is empty.
  static ltxmem::TensorView<const float, 2> modulate(Backend& backend, const TimestepModulation<T, Backend>& network,
                                                     const std::vector<float>& tau,
                                                     ltxmem::TensorView<float, 2> embedding, ltxmem::Arena& arena) {
    const std::int64_t rows = input_rows(tau);
    const auto modulation = arena.take<float, 2>("modulation", {rows, network.vectors() * network.width()});
    const auto scope = arena.scope();
    if (embedding.empty()) embedding = arena.take<float, 2>("embedded timestep", {rows, network.width()});
    network(backend, tau, embedding, modulation, arena);
    return modulation;
  }

  ltxmem::TensorView<const T, 2> project_context(Backend& backend, ltxmem::TensorView<const float, 2> context,
                                                 ltxmem::Arena& arena) const {
    const std::int64_t rows = context.extent(0);
    const auto result = arena.take<T, 2>("context", {rows, caption_ ? shape_.width() : context.extent(1)});
    if (!caption_) {
      backend.copy(context, result);
      return result;
    }
    const auto scope = arena.scope();
    const auto caption = arena.take<T, 2>("caption", {rows, context.extent(1)});
    const auto hidden = arena.take<T, 2>("caption hidden", {rows, shape_.width()});
    backend.copy(context, caption);
    ltxmem::LinearEpilogue<T> gelu;
    gelu.activation = ltxmem::Activation::gelu_tanh;
    caption_->first.apply(backend, caption, gelu, hidden, arena);
    caption_->second.apply(backend, hidden, ltxmem::LinearEpilogue<T>{}, result, arena);
    return result;
  }

  StreamShape shape_;
  RotaryGrid cross_grid_;
  float timestep_scale_;
  float gate_scale_;
  float eps_;
  std::int64_t caption_channels_ = 0;
  ModelLinear<T, Backend> in_;
  ModelLinear<T, Backend> out_;
  ltxmem::WeightMatrix table_;
  TimestepModulation<T, Backend> adaln_;
  TimestepModulation<T, Backend> cross_adaln_;
  TimestepModulation<T, Backend> gate_adaln_;
  std::optional<TimestepModulation<T, Backend>> prompt_adaln_;
  std::optional<std::pair<ModelLinear<T, Backend>, ModelLinear<T, Backend>>> caption_;
};

}  // namespace ltx2
