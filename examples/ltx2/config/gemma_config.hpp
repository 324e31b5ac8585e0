// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "config/json_fields.hpp"

namespace ltx2 {

/// The Gemma 3 text model: `text_config` of its config.json; the defaults are those of the 12B model.
/// Source  docs/ltx2/text.md 2
struct GemmaConfig {
  std::int64_t hidden_size = 3840;
  std::int64_t intermediate_size = 15360;
  std::int64_t layers = 48;
  std::int64_t heads = 16;
  std::int64_t kv_heads = 8;
  std::int64_t head_dim = 256;
  std::int64_t vocabulary = 262208;
  std::int64_t sliding_window = 1024;
  std::vector<bool> full_attention;  ///< per layer: sees everything before it, not only the sliding window
  double query_scale = 256;          ///< attention scale is query_scale^-0.5
  double norm_eps = 1e-6;
  double rope_theta = 1e6;        ///< full layers
  double rope_factor = 8;         ///< full layers: frequencies divided by it
  double rope_local_theta = 1e4;  ///< sliding layers
  std::int64_t bos_token = 2;
  std::int64_t pad_token = 0;

  std::int64_t query_width() const noexcept { return heads * head_dim; }
  std::int64_t kv_width() const noexcept { return kv_heads * head_dim; }
};

/// From the whole config.json (with `text_config`, or a text configuration itself). IoError naming source, key, found
/// and expected for anything malformed or not supported; another model family by its name.
GemmaConfig parse_gemma_config(const Fields& config);

}  // namespace ltx2
