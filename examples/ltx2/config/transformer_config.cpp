// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/transformer_config.hpp"

namespace ltx2 {

namespace {

// Far above any model, far below what could overflow a product of three of them.
constexpr std::int64_t max_heads = 1024;
constexpr std::int64_t max_head_dim = 4096;
constexpr std::int64_t max_layers = 4096;
constexpr std::int64_t max_width = 1 << 20;

RopeType parse_rope_type(const Fields& fields) {
  const std::string type = fields.text("rope_type", "split");
  if (type == "split") return RopeType::split;
  if (type == "interleaved") return RopeType::interleaved;
  fields.fail("rope_type", "\"" + type + "\"", "\"split\" or \"interleaved\"");
}

/// Only the exact text "float64" asks for double; everything else is the single-precision grid.
bool parse_rope_double(const Fields& fields) {
  return fields.has("frequencies_precision") && fields.at("frequencies_precision") == "float64";
}

void refuse_newer_model(const Fields& fields) {
  const auto refuse = [&](const char* key) {
    fields.fail(std::string("this is an LTX-2.5 model (") + key + "); LTX-2.0 and LTX-2.3 are supported");
  };
  if (!fields.boolean("ff_bias", true)) refuse("ff_bias");
  if (!fields.boolean("audio_ff_bias", true)) refuse("audio_ff_bias");
  if (fields.boolean("use_keyframes_abs_pos_embedding", false)) refuse("use_keyframes_abs_pos_embedding");
  if (!fields.boolean("use_prompt_adaln_single", true)) refuse("use_prompt_adaln_single");
}

void require_supported(const Fields& fields) {
  fields.require("activation_fn", "gelu-approximate");
  fields.require("attention_bias", true);
  fields.require("qk_norm", "rms_norm");
  fields.require("standardization_norm", "rms_norm");
  fields.require("norm_elementwise_affine", false);
  fields.require("positional_embedding_type", "rope");
  fields.require("use_audio_video_cross_attention", true);
  fields.require("av_cross_ada_norm", true);
  fields.require("share_ff", false);
  fields.require("double_self_attention", false);
  fields.require("only_cross_attention", false);
  fields.require("causal_temporal_positioning", true);
  fields.require("use_middle_indices_grid", true);
  fields.require("use_embeddings_connector", true);
  fields.require("connector_norm_output", true);
}

}  // namespace

TransformerConfig parse_transformer_config(const Fields& fields) {
  refuse_newer_model(fields);
  require_supported(fields);
  TransformerConfig config;
  config.heads = fields.integer("num_attention_heads", 1, max_heads, config.heads);
  config.head_dim = fields.integer("attention_head_dim", 2, max_head_dim, config.head_dim);
  const std::int64_t audio_heads = fields.integer("audio_num_attention_heads", 1, max_heads, 32);
  if (audio_heads != config.heads) {
    fields.fail("audio_num_attention_heads", std::to_string(audio_heads),
                std::to_string(config.heads) + " as in num_attention_heads");
  }
  config.audio_head_dim = fields.integer("audio_attention_head_dim", 2, max_head_dim, config.audio_head_dim);
  for (const auto& [key, dim] : {std::pair{"attention_head_dim", config.head_dim},
                                 std::pair{"audio_attention_head_dim", config.audio_head_dim}}) {
    if (dim % 2 != 0) fields.fail(key, std::to_string(dim), "an even number (rotary pairs)");
  }
  config.layers = fields.integer("num_layers", 1, max_layers, config.layers);
  config.in_channels = fields.integer("in_channels", 1, max_width, config.in_channels);
  config.out_channels = fields.integer("out_channels", 1, max_width, config.out_channels);
  config.audio_in_channels = fields.integer("audio_in_channels", 1, max_width, config.audio_in_channels);
  config.audio_out_channels = fields.integer("audio_out_channels", 1, max_width, config.audio_out_channels);
  config.cross_attention_dim = fields.integer("cross_attention_dim", 1, max_width, config.cross_attention_dim);
  config.audio_cross_attention_dim =
      fields.integer("audio_cross_attention_dim", 1, max_width, config.audio_cross_attention_dim);
  config.caption_channels = fields.integer("caption_channels", 1, max_width, config.caption_channels);
  config.gated_attention = fields.boolean("apply_gated_attention", false);
  config.text_modulation = fields.boolean("cross_attention_adaln", false);
  config.caption_projection = parse_text_projection(fields) == TextProjection::v1;
  if (config.caption_projection) {  // the projected context feeds the text attention
    fields.require("cross_attention_dim", config.width());
    fields.require("audio_cross_attention_dim", config.audio_width());
  }
  config.rope = parse_rope_type(fields);
  config.rope_double = parse_rope_double(fields);
  config.rope_theta = fields.positive("positional_embedding_theta", config.rope_theta);
  const auto positions = fields.positives("positional_embedding_max_pos", {20, 2048, 2048});
  config.max_positions = {positions[0], positions[1], positions[2]};
  config.audio_max_position = fields.positives("audio_positional_embedding_max_pos", {20})[0];
  config.timestep_scale = fields.positive("timestep_scale_multiplier", config.timestep_scale);
  config.av_ca_timestep_scale = fields.positive("av_ca_timestep_scale_multiplier", config.av_ca_timestep_scale);
  config.norm_eps = fields.positive("norm_eps", config.norm_eps);
  return config;
}

ConnectorConfig parse_connector_config(const Fields& fields, const std::string& prefix) {
  ConnectorConfig config;
  const auto count = [&](const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) {
    const std::int64_t common = fields.integer(key, low, high, fallback);
    return fields.integer((prefix + key).c_str(), low, high, common);
  };
  config.heads = count("connector_num_attention_heads", 1, max_heads, config.heads);
  config.head_dim = count("connector_attention_head_dim", 2, max_head_dim, config.head_dim);
  if (config.head_dim % 2 != 0) {
    fields.fail(prefix + "connector_attention_head_dim", std::to_string(config.head_dim),
                "an even number (rotary pairs)");
  }
  config.layers = count("connector_num_layers", 0, max_layers, config.layers);
  config.registers = fields.integer("connector_num_learnable_registers", 1, 1 << 16, config.registers);
  config.gated_attention = fields.boolean("connector_apply_gated_attention", false);
  config.rope = parse_rope_type(fields);
  config.rope_double = parse_rope_double(fields);
  config.rope_theta = fields.positive("positional_embedding_theta", config.rope_theta);
  config.max_position = fields.positives("connector_positional_embedding_max_pos", {1})[0];
  config.norm_eps = fields.positive("norm_eps", config.norm_eps);
  return config;
}

TextProjection parse_text_projection(const Fields& fields) {
  static constexpr const char* keys[] = {"caption_proj_before_connector", "caption_projection_first_linear",
                                         "caption_projection_second_linear", "caption_proj_input_norm"};
  int present = 0;
  for (const char* key : keys) present += fields.has(key) ? 1 : 0;
  const bool before = fields.boolean(keys[0], false);
  if (present == 0) return TextProjection::v1;
  bool rest = false;
  for (const char* key : {keys[1], keys[2], keys[3]}) rest = rest || fields.boolean(key, false);
  if (present == 4 && before && !rest) return TextProjection::v2;
  fields.fail(
      "the caption projection keys form no known set: expected none of them, or caption_proj_before_connector true "
      "with "
      "caption_projection_first_linear, caption_projection_second_linear and caption_proj_input_norm false");
}

}  // namespace ltx2
