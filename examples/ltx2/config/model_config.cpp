// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/model_config.hpp"

#include <charconv>
#include <utility>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

using ltxmem::IoError;

namespace {

void refuse_newer_model(const std::string& source, const std::string& sign) {
  throw IoError(source + ": this is an LTX-2.5 model or a later one (" + sign + "); LTX-2.0 and LTX-2.3 are supported");
}

/// An upsampler's configuration is flat and speaks of its own sizes.
bool is_upsampler(const Fields& config) {
  return config.has("mid_channels") || config.has("spatial_upsample");
}

}  // namespace

std::string_view model_version_name(ModelVersion version) noexcept {
  return version == ModelVersion::v2_0 ? "2.0" : "2.3";
}

std::array<int, 2> parse_version_text(const std::string& text) noexcept {
  if (text.empty()) return {2, 0};
  std::array<int, 2> numbers{0, 0};
  const char* at = text.data();
  const char* end = at + text.size();
  for (int& number : numbers) {
    const auto [rest, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number < 0) {
      number = 0;
      break;
    }
    at = rest;
    if (at == end || *at != '.') break;
    ++at;
  }
  return numbers;
}

ModelConfig parse_model_config(const Json& json, const std::string& model_version, const std::string& source) {
  ModelConfig config;
  config.json = json;
  config.model_version = model_version;
  const Fields fields(json, source + ": config");
  if (parse_version_text(model_version) >= std::array{2, 5}) {
    refuse_newer_model(source, "model_version " + model_version);
  }
  if (is_upsampler(fields)) {
    config.upsampler = parse_upsampler_config(fields);
    return config;
  }
  if (fields.has("transformer")) {
    const Fields transformer = fields.object("transformer");
    config.transformer = parse_transformer_config(transformer);
    config.video_connector = parse_connector_config(transformer, "");
    config.audio_connector = parse_connector_config(transformer, "audio_");
    config.text_projection = parse_text_projection(transformer);
    config.version = *config.text_projection == TextProjection::v1 ? ModelVersion::v2_0 : ModelVersion::v2_3;
  } else if (parse_version_text(model_version) >= std::array{2, 3}) {
    config.version = ModelVersion::v2_3;
  }
  if (fields.has("vae")) config.video_vae = parse_video_vae_config(fields.object("vae"));
  if (fields.has("audio_vae")) config.audio_vae = parse_audio_vae_config(fields.object("audio_vae"));
  if (fields.has("vocoder")) config.vocoder = parse_vocoder_config(fields.object("vocoder"));
  return config;
}

ModelConfig parse_model_config(const std::map<std::string, std::string>& metadata, const std::string& source) {
  if (metadata.contains("gemma_source_checkpoint")) {
    refuse_newer_model(source, "metadata gemma_source_checkpoint");
  }
  const auto version = metadata.find("model_version");
  const auto config = metadata.find("config");
  if (config == metadata.end()) throw IoError(source + ": no metadata entry 'config'");
  const std::string model_version = version == metadata.end() ? std::string() : version->second;
  return parse_model_config(parse_json_text(config->second, source + ": metadata 'config'"), model_version, source);
}

}  // namespace ltx2
