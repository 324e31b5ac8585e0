// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/lora_file.hpp"
#include "ltxmem/core/resource.hpp"
#include "pipeline/request.hpp"
#include "runtime/facts.hpp"
#include "synth/description.hpp"
#include "text/tokenizer.hpp"

namespace ltx2 {

/// Models by what they consist of, without weights. An upsampler is only there for pipelines of two stages.
struct ModelDescriptions {
  Description model;
  Description gemma;
  std::optional<Description> upsampler;
};

/// What plans call copies of tensors that files hold misaligned.
inline constexpr const char* misaligned_copies = "copies of misaligned weights";

/// The model files of a request, opened, validated completely and matched with each other.
///
/// Memory   address space; copies of misaligned tensors from the resource
/// Throws   IoError or ShapeError naming the file and what is wrong with it
class Models {
 public:
  Models(const GenerateRequest& request, ltxmem::ResourceRef resource);

  /// Models that are only described: for plans.
  explicit Models(const ModelDescriptions& descriptions);

  const Checkpoint& model() const noexcept { return model_; }
  const Checkpoint& gemma() const noexcept { return gemma_; }
  const Checkpoint& upsampler() const noexcept { return *upsampler_; }

  /// What the text encoder reads of a prompt. Models without a tokenizer (descriptions) take the longest text there is.
  std::vector<std::int32_t> token_ids(std::string_view text, std::int64_t max_length) const;

  /// Size of the mapped weight files, and of the copies of misaligned tensors.
  std::size_t mapped_bytes() const;
  std::size_t copied_bytes() const;

  /// TensorSource::fingerprint of every file, by what it is.
  Facts fingerprints() const;

  /// From now on layers taken from model() carry the request's LoRAs, and the distilled one times this factor (0: not).
  void use_loras(float distilled_factor);

 private:
  /// Throws IoError when a part that the pipelines need is missing, or two do not fit each other.
  void match() const;

  struct Lora {
    std::shared_ptr<const LoraFile> file;
    float strength;
  };

  Checkpoint model_;
  Checkpoint gemma_;
  std::optional<Checkpoint> upsampler_;
  std::optional<Tokenizer> tokenizer_;
  std::vector<Lora> loras_;
  std::optional<Lora> distilled_lora_;
};

}  // namespace ltx2
