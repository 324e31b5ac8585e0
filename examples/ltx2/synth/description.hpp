// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "config/json_fields.hpp"
#include "config/model_config.hpp"
#include "ltxmem/core/dtype.hpp"

namespace ltx2 {

enum class ModelKind : std::uint8_t { checkpoint, upsampler, lora, gemma };

/// Which parts a checkpoint holds.
struct Components {
  bool transformer = true;
  bool connectors = true;
  bool text = true;
  bool video_vae = true;
  bool audio_vae = true;
  bool vocoder = true;
};

/// A synthetic model: what its file holds and the knobs of its values. Every tensor follows from it.
/// Source  docs/ltx2/cases.md, "Synthetic models"
struct Description {
  ModelKind kind = ModelKind::checkpoint;
  ModelConfig config;
  Components components;
  ltxmem::DType dtype = ltxmem::DType::f32;
  bool fp8 = false;
  std::string salt;
  std::vector<std::pair<std::string, double>> gains;  ///< part of a name and a factor; the first match counts
  std::vector<std::pair<std::string, std::string>> metadata;

  std::int64_t text_rows = 0;     ///< outputs of the 2.0 text projection (Gemma's width)
  std::int64_t text_columns = 0;  ///< inputs of the text projection: Gemma's width times (layers + 1)
  std::string gemma_prefix = "language_model.model.";
  std::int64_t lora_rank = 0;
  std::vector<std::string> lora_targets;
};

/// Reads a description; IoError naming the key when it is malformed or not supported.
Description parse_description(const Json& description, const std::string& source);
Description read_description(const std::string& path);

}  // namespace ltx2
