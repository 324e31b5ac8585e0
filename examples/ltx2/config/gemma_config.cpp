// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/gemma_config.hpp"

#include <optional>
#include <string>

namespace ltx2 {

namespace {

constexpr std::int64_t max_width = 1 << 20;

/// Which layers see everything: `layer_types` where the file lists them, else every `sliding_window_pattern`-th.
std::vector<bool> parse_full_attention(const Fields& text, std::int64_t layers) {
  std::vector<bool> full(static_cast<std::size_t>(layers));
  if (text.has("layer_types")) {
    const Json& types = text.at("layer_types");
    if (!types.is_array() || types.size() != full.size()) {
      text.fail("layer_types", "another list", std::to_string(layers) + " entries as in num_hidden_layers");
    }
    for (std::size_t i = 0; i < full.size(); ++i) {
      full[i] = types[i] == "full_attention";
      if (!full[i] && types[i] != "sliding_attention") {
        text.fail("layer_types", types[i].dump(), "\"full_attention\" or \"sliding_attention\"");
      }
    }
    return full;
  }
  const auto period = static_cast<std::size_t>(text.integer("sliding_window_pattern", 1, 4096, 6));
  for (std::size_t i = 0; i < full.size(); ++i) full[i] = (i + 1) % period == 0;
  return full;
}

}  // namespace

GemmaConfig parse_gemma_config(const Fields& root) {
  const std::string family = root.text("model_type", "gemma3");
  if (family != "gemma3" && family != "gemma3_text") {
    root.fail("model_type", "\"" + family + "\"", "\"gemma3\" (LTX-2.5 uses Gemma 4, which is not supported)");
  }
  const Fields text = root.has("text_config") ? root.object("text_config") : root;
  if (text.text("model_type", "gemma3_text") != "gemma3_text") {
    text.fail("model_type", text.at("model_type").dump(), "\"gemma3_text\"");
  }
  text.require("hidden_activation", "gelu_pytorch_tanh");
  text.require("attention_bias", false);
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (text.has(key)) text.fail(key, text.at(key).dump(), "null, the only one supported");
  }
  GemmaConfig config;
  config.hidden_size = text.integer("hidden_size", 1, max_width, config.hidden_size);
  config.intermediate_size = text.integer("intermediate_size", 1, max_width, config.intermediate_size);
  config.layers = text.integer("num_hidden_layers", 1, 4096, config.layers);
  config.heads = text.integer("num_attention_heads", 1, 1024, config.heads);
  config.kv_heads = text.integer("num_key_value_heads", 1, 1024, config.kv_heads);
  config.head_dim = text.integer("head_dim", 2, 4096, config.head_dim);
  config.vocabulary = text.integer("vocab_size", 1, 1 << 24, config.vocabulary);
  config.sliding_window = text.integer("sliding_window", 1, std::int64_t{1} << 40, config.sliding_window);
  if (config.heads % config.kv_heads != 0) {
    text.fail("num_key_value_heads", std::to_string(config.kv_heads),
              "a divisor of num_attention_heads " + std::to_string(config.heads));
  }
  if (config.head_dim % 2 != 0) text.fail("head_dim", std::to_string(config.head_dim), "an even number (rotary pairs)");
  config.full_attention = parse_full_attention(text, config.layers);
  config.query_scale = text.positive("query_pre_attn_scalar", config.query_scale);
  config.norm_eps = text.positive("rms_norm_eps", config.norm_eps);
  config.rope_theta = text.positive("rope_theta", config.rope_theta);
  config.rope_local_theta = text.positive("rope_local_base_freq", config.rope_local_theta);
  if (text.has("rope_scaling")) {
    const Fields scaling = text.object("rope_scaling");
    scaling.require("rope_type", "linear");
    config.rope_factor = scaling.positive("factor", config.rope_factor);
  }
  config.bos_token = text.integer("bos_token_id", 0, config.vocabulary - 1, config.bos_token);
  config.pad_token = text.integer("pad_token_id", 0, config.vocabulary - 1, config.pad_token);
  return config;
}

}  // namespace ltx2
