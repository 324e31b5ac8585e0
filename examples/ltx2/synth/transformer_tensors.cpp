// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "synth/inventory.hpp"

namespace ltx2::tensors {

void List::linear(const std::string& name, std::int64_t out, std::int64_t in, bool bias) {
  add(name + ".weight", {out, in});
  if (bias) add(name + ".bias", {out});
}

namespace {

void attention(List& list, const std::string& p, std::int64_t q_in, std::int64_t kv_in, std::int64_t inner,
               std::int64_t heads, bool gate) {
  list.linear(p + ".to_q", inner, q_in);
  list.linear(p + ".to_k", inner, kv_in);
  list.linear(p + ".to_v", inner, kv_in);
  list.add(p + ".q_norm.weight", {inner});
  list.add(p + ".k_norm.weight", {inner});
  list.linear(p + ".to_out.0", q_in, inner);
  if (gate) list.linear(p + ".to_gate_logits", heads, q_in);
}

void feed_forward(List& list, const std::string& p, std::int64_t width) {
  list.linear(p + ".net.0.proj", 4 * width, width);
  list.linear(p + ".net.2", width, 4 * width);
}

void adaln(List& list, const std::string& p, std::int64_t width, std::int64_t rows) {
  list.linear(p + ".emb.timestep_embedder.linear_1", width, 256);
  list.linear(p + ".emb.timestep_embedder.linear_2", width, width);
  list.linear(p + ".linear", rows * width, width);
}

/// What the video stream and the audio stream (prefix "audio_") both have.
struct Stream {
  std::string prefix;
  std::int64_t width, in, out, text;
};

void outside_blocks(List& list, const TransformerConfig& c, const Stream& s) {
  list.linear(s.prefix + "patchify_proj", s.width, s.in);
  adaln(list, s.prefix + "adaln_single", s.width, c.adaln_rows());
  if (c.text_modulation) adaln(list, s.prefix + "prompt_adaln_single", s.width, 2);
  if (c.caption_projection) {
    list.linear(s.prefix + "caption_projection.linear_1", s.width, c.caption_channels);
    list.linear(s.prefix + "caption_projection.linear_2", s.width, s.width);
  }
  list.add(s.prefix + "scale_shift_table", {2, s.width});
  list.linear(s.prefix + "proj_out", s.out, s.width);
}

void block_stream(List& list, const TransformerConfig& c, const std::string& block, const Stream& s) {
  attention(list, block + s.prefix + "attn1", s.width, s.width, s.width, c.heads, c.gated_attention);
  attention(list, block + s.prefix + "attn2", s.width, s.text, s.width, c.heads, c.gated_attention);
  feed_forward(list, block + s.prefix + "ff", s.width);
  list.add(block + s.prefix + "scale_shift_table", {c.adaln_rows(), s.width});
  if (c.text_modulation) list.add(block + s.prefix + "prompt_scale_shift_table", {2, s.width});
}

}  // namespace

void transformer(List& list, const TransformerConfig& c) {
  const std::int64_t V = c.width(), A = c.audio_width();
  const Stream video{"", V, c.in_channels, c.out_channels, c.cross_attention_dim};
  const Stream audio{"audio_", A, c.audio_in_channels, c.audio_out_channels, c.audio_cross_attention_dim};
  outside_blocks(list, c, video);
  outside_blocks(list, c, audio);
  adaln(list, "av_ca_video_scale_shift_adaln_single", V, 4);
  adaln(list, "av_ca_audio_scale_shift_adaln_single", A, 4);
  adaln(list, "av_ca_a2v_gate_adaln_single", V, 1);
  adaln(list, "av_ca_v2a_gate_adaln_single", A, 1);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string block = "transformer_blocks." + std::to_string(i) + ".";
    block_stream(list, c, block, video);
    block_stream(list, c, block, audio);
    attention(list, block + "audio_to_video_attn", V, A, A, c.heads, c.gated_attention);
    attention(list, block + "video_to_audio_attn", A, V, A, c.heads, c.gated_attention);
    list.add(block + "scale_shift_table_a2v_ca_video", {5, V});
    list.add(block + "scale_shift_table_a2v_ca_audio", {5, A});
  }
}

void connector(List& list, const ConnectorConfig& c) {
  list.add("learnable_registers", {c.registers, c.width()});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string block = "transformer_1d_blocks." + std::to_string(i) + ".";
    attention(list, block + "attn1", c.width(), c.width(), c.width(), c.heads, c.gated_attention);
    feed_forward(list, block + "ff", c.width());
  }
}

void text_projection(List& list, const TransformerConfig& c, TextProjection kind, std::int64_t rows,
                     std::int64_t columns) {
  if (kind == TextProjection::v1) {
    list.linear("aggregate_embed", rows, columns, false);
  } else {
    list.linear("video_aggregate_embed", c.width(), columns);
    list.linear("audio_aggregate_embed", c.audio_width(), columns);
  }
}

void gemma(List& list, const GemmaConfig& c) {
  list.add("embed_tokens.weight", {c.vocabulary, c.hidden_size});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string block = "layers." + std::to_string(i) + ".";
    list.linear(block + "self_attn.q_proj", c.query_width(), c.hidden_size, false);
    list.linear(block + "self_attn.k_proj", c.kv_width(), c.hidden_size, false);
    list.linear(block + "self_attn.v_proj", c.kv_width(), c.hidden_size, false);
    list.linear(block + "self_attn.o_proj", c.hidden_size, c.query_width(), false);
    list.add(block + "self_attn.q_norm.weight", {c.head_dim});
    list.add(block + "self_attn.k_norm.weight", {c.head_dim});
    list.linear(block + "mlp.gate_proj", c.intermediate_size, c.hidden_size, false);
    list.linear(block + "mlp.up_proj", c.intermediate_size, c.hidden_size, false);
    list.linear(block + "mlp.down_proj", c.hidden_size, c.intermediate_size, false);
    for (const char* norm : {"input", "post_attention", "pre_feedforward", "post_feedforward"}) {
      list.add(block + norm + "_layernorm.weight", {c.hidden_size});
    }
  }
  list.add("norm.weight", {c.hidden_size});
}

}  // namespace ltx2::tensors
