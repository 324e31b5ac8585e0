// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "synth/description.hpp"

#include "ltxmem/core/error.hpp"
#include "ltxmem/io/safetensors.hpp"
#include "synth/python_json.hpp"

namespace ltx2 {

using ltxmem::DType;

namespace {

constexpr std::int64_t max_width = 1 << 20;

ModelKind parse_kind(const Fields& fields) {
  const std::string kind = fields.at("kind").is_string() ? fields.text("kind", "") : "";
  if (kind == "checkpoint") return ModelKind::checkpoint;
  if (kind == "upsampler") return ModelKind::upsampler;
  if (kind == "lora") return ModelKind::lora;
  if (kind == "gemma") return ModelKind::gemma;
  fields.fail("kind", fields.at("kind").dump(), "\"checkpoint\", \"upsampler\", \"lora\" or \"gemma\"");
}

DType parse_dtype(const Fields& fields) {
  const std::string name = fields.text("dtype", "F32");
  const auto dtype = ltxmem::dtype_from_name(name);
  if (dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f8_e4m3) return *dtype;
  fields.fail("dtype", "\"" + name + "\"", "\"F32\", \"BF16\" or \"F8_E4M3\"");
}

/// The components that are named, or all of them.
Components parse_components(const Fields& fields) {
  if (!fields.has("components")) return {};
  const Json& list = fields.at("components");
  if (!list.is_array()) fields.fail("components", list.dump(), "a list of names");
  Components c{false, false, false, false, false, false};
  for (const Json& name : list) {
    bool* const component = name == "transformer"  ? &c.transformer
                            : name == "connectors" ? &c.connectors
                            : name == "text"       ? &c.text
                            : name == "vae"        ? &c.video_vae
                            : name == "audio_vae"  ? &c.audio_vae
                            : name == "vocoder"    ? &c.vocoder
                                                   : nullptr;
    if (component == nullptr) fields.fail("components", name.dump(), "the name of a component");
    *component = true;
  }
  return c;
}

/// Every wanted component needs its section of the configuration.
void require_sections(const Fields& config, const Components& c) {
  if (c.transformer || c.connectors || c.text) config.object("transformer");
  if (c.video_vae) config.object("vae");
  if (c.audio_vae) config.object("audio_vae");
  if (c.vocoder) config.object("vocoder");
}

std::vector<std::pair<std::string, double>> parse_gains(const Fields& fields) {
  std::vector<std::pair<std::string, double>> gains;
  if (!fields.has("gain")) return gains;
  const Fields gain = fields.object("gain");
  for (const auto& [part, factor] : gain.json().items()) {
    if (!factor.is_number()) gain.fail(part, factor.dump(), "a number");
    gains.emplace_back(part, factor.get<double>());
  }
  return gains;
}

void parse_checkpoint(const Fields& fields, const std::string& source, Description& d) {
  d.components = parse_components(fields);
  require_sections(fields.object("config"), d.components);
  d.config = parse_model_config(fields.at("config"), fields.text("model_version", ""), source);
  if (d.config.upsampler) fields.fail("config", "the configuration of an upsampler", "that of a checkpoint");
  if (d.components.text) {
    const Fields gemma = fields.object("gemma");
    d.text_rows = gemma.integer("hidden_size", 1, max_width);
    d.text_columns = d.text_rows * (gemma.integer("num_hidden_layers", 1, 4096) + 1);
  }
}

void parse_lora(const Fields& fields, Description& d) {
  d.config.transformer = parse_transformer_config(fields.object("transformer"));
  d.lora_rank = fields.integer("rank", 1, max_width);
  const Json& targets = fields.at("targets");
  if (!targets.is_array()) fields.fail("targets", targets.dump(), "a list of module names");
  for (const Json& target : targets) {
    if (!target.is_string()) fields.fail("targets", target.dump(), "a list of module names");
    d.lora_targets.push_back(target.get<std::string>());
  }
}

std::vector<std::pair<std::string, std::string>> parse_metadata(const Fields& fields, ModelKind kind) {
  std::vector<std::pair<std::string, std::string>> metadata;
  const auto set = [&](const std::string& key, const std::string& text) {
    for (auto& [name, value] : metadata) {
      if (name == key) {
        value = text;
        return;
      }
    }
    metadata.emplace_back(key, text);
  };
  if (fields.has("metadata")) {
    const Fields extra = fields.object("metadata");
    for (const auto& [key, value] : extra.json().items()) set(key, extra.text(key.c_str(), ""));
  }
  if (fields.has("config") && kind != ModelKind::gemma) set("config", python_json(fields.at("config")));
  if (fields.has("model_version")) set("model_version", fields.text("model_version", ""));
  return metadata;
}

}  // namespace

Description parse_description(const Json& json, const std::string& source) {
  const Fields fields(json, source);
  Description d;
  d.kind = parse_kind(fields);
  d.dtype = parse_dtype(fields);
  d.fp8 = fields.boolean("fp8", false);
  d.salt = fields.text("salt", "");
  d.gains = parse_gains(fields);
  d.gemma_prefix = fields.text("prefix", d.gemma_prefix);
  switch (d.kind) {
    case ModelKind::checkpoint: parse_checkpoint(fields, source, d); break;
    case ModelKind::upsampler:
      d.config.upsampler = parse_upsampler_config(fields.object("config"));
      d.config.json = fields.at("config");
      break;
    case ModelKind::lora: parse_lora(fields, d); break;
    case ModelKind::gemma:
      d.config.gemma = parse_gemma_config(fields.object("config"));
      d.config.json = fields.at("config");
      break;
  }
  d.metadata = parse_metadata(fields, d.kind);
  return d;
}

Description read_description(const std::string& path) {
  return parse_description(read_json_file(path), path);
}

}  // namespace ltx2
