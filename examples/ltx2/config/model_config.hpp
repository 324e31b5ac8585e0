// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "config/audio_config.hpp"
#include "config/gemma_config.hpp"
#include "config/json_fields.hpp"
#include "config/transformer_config.hpp"
#include "config/video_vae_config.hpp"

namespace ltx2 {

enum class ModelVersion : std::uint8_t { v2_0, v2_3 };

/// "2.0" or "2.3".
std::string_view model_version_name(ModelVersion version) noexcept;

/// Everything that a model file says about its architecture. A part is absent when the file's configuration has no
/// section for it.
struct ModelConfig {
  ModelVersion version = ModelVersion::v2_0;
  std::string model_version;  ///< as written in the file; may be empty
  Json json;                  ///< the configuration as read, for runs that override a key of it

  std::optional<TransformerConfig> transformer;
  std::optional<ConnectorConfig> video_connector;
  std::optional<ConnectorConfig> audio_connector;
  std::optional<TextProjection> text_projection;
  std::optional<VideoVaeConfig> video_vae;
  std::optional<AudioVaeConfig> audio_vae;
  std::optional<VocoderConfig> vocoder;
  std::optional<UpsamplerConfig> upsampler;
  std::optional<GemmaConfig> gemma;
};

/// From the metadata of a checkpoint or upsampler file. IoError naming source and key when `config` is missing,
/// malformed or not supported; LTX-2.5 is refused by name.
ModelConfig parse_model_config(const std::map<std::string, std::string>& metadata, const std::string& source);

/// From the two values themselves: the object under `config` and the text `model_version`, which may be empty.
ModelConfig parse_model_config(const Json& config, const std::string& model_version, const std::string& source);

/// The leading numbers of a version text: "2.3.rc1" gives {2, 3}; missing numbers are 0, a missing text is 2.0.
std::array<int, 2> parse_version_text(const std::string& text) noexcept;

}  // namespace ltx2
