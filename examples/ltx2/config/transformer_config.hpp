// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "config/json_fields.hpp"

/// What `config.transformer` says: the diffusion transformer, the two text connectors and the text projection.
/// Source  docs/ltx2/transformer.md 1-3, docs/ltx2/text.md 3-4

namespace ltx2 {

/// How the two elements of a rotated pair lie: r and r + half of a head ("split"), or 2r and 2r + 1 ("interleaved").
enum class RopeType : std::uint8_t { split, interleaved };

/// The audio-video diffusion transformer.
struct TransformerConfig {
  std::int64_t heads = 32;  ///< of every attention, both streams
  std::int64_t head_dim = 128;
  std::int64_t audio_head_dim = 64;  ///< also of both cross-modal attentions
  std::int64_t layers = 48;
  std::int64_t in_channels = 128;
  std::int64_t out_channels = 128;
  std::int64_t audio_in_channels = 128;
  std::int64_t audio_out_channels = 128;
  std::int64_t cross_attention_dim = 4096;
  std::int64_t audio_cross_attention_dim = 2048;
  std::int64_t caption_channels = 3840;  ///< context width before the caption projection; unused without one

  bool gated_attention = false;    ///< per-head output gate 2 * sigmoid(to_gate_logits)
  bool text_modulation = false;    ///< text attention modulated: 9 adaln rows instead of 6, prompt adaln
  bool caption_projection = true;  ///< the transformer projects the context itself (2.0)

  RopeType rope = RopeType::split;
  bool rope_double = false;  ///< frequency grid computed in double, then rounded
  double rope_theta = 10000;
  std::array<double, 3> max_positions{20, 2048, 2048};  ///< seconds, pixels, pixels
  double audio_max_position = 20;                       ///< seconds
  double timestep_scale = 1000;
  double av_ca_timestep_scale = 1;
  double norm_eps = 1e-6;

  std::int64_t width() const noexcept { return heads * head_dim; }
  std::int64_t audio_width() const noexcept { return heads * audio_head_dim; }
  std::int64_t adaln_rows() const noexcept { return text_modulation ? 9 : 6; }
};

/// One text connector: a small transformer over text features and learnable registers.
struct ConnectorConfig {
  std::int64_t heads = 30;
  std::int64_t head_dim = 128;
  std::int64_t layers = 2;
  std::int64_t registers = 128;
  bool gated_attention = false;
  RopeType rope = RopeType::split;
  bool rope_double = false;
  double rope_theta = 10000;
  double max_position = 1;
  double norm_eps = 1e-6;

  std::int64_t width() const noexcept { return heads * head_dim; }
};

/// Feature extractor: v1 normalizes over the prompt and has one linear (2.0), v2 per token with two linears (2.3).
enum class TextProjection : std::uint8_t { v1, v2 };

/// IoError naming source, key, found and expected for anything missing, malformed or not supported.
TransformerConfig parse_transformer_config(const Fields& transformer);

/// The connector of the video stream (prefix "") or the audio stream (prefix "audio_").
ConnectorConfig parse_connector_config(const Fields& transformer, const std::string& prefix);

TextProjection parse_text_projection(const Fields& transformer);

}  // namespace ltx2
