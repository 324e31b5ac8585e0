// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/lora_file.hpp"
#include "ltxmem/core/resource.hpp"
#include "pipeline/request.hpp"
#include "text/tokenizer.hpp"

namespace ltx2 {

/// The model files of a request, opened, validated completely and matched with each other.
///
/// Memory   address space; copies of misaligned tensors from the resource
/// Throws   IoError or ShapeError naming the file and what is wrong with it
class Models {
 public:
  Models(const GenerateRequest& request, ltxmem::ResourceRef resource);

  const Checkpoint& model() const noexcept { return model_; }
  const Checkpoint& gemma() const noexcept { return gemma_; }
  const Checkpoint& upsampler() const noexcept { return *upsampler_; }
  const Tokenizer& tokenizer() const noexcept { return tokenizer_; }

  /// Size of the mapped weight files.
  std::size_t mapped_bytes() const;

  /// From now on layers taken from model() carry the request's LoRAs, and the distilled one times this factor (0: not).
  void use_loras(float distilled_factor);

 private:
  struct Lora {
    std::shared_ptr<const LoraFile> file;
    float strength;
  };

  Checkpoint model_;
  Checkpoint gemma_;
  std::optional<Checkpoint> upsampler_;
  Tokenizer tokenizer_;
  std::vector<Lora> loras_;
  std::optional<Lora> distilled_lora_;
};

}  // namespace ltx2
