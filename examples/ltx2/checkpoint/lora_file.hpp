// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/tensor_source.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/weight_view.hpp"

namespace ltx2 {

/// A LoRA file: for each target module a pair `diffusion_model.<module>.lora_A.weight` [rank, inputs] and
/// `.lora_B.weight` [outputs, rank].
///
/// Memory  the file as address space; misaligned tensors as copies from the resource
/// Throws  IoError naming file, tensor and reason: other keys, half a pair, ranks that differ, types without arithmetic
/// Source  docs/ltx2/sampling.md 7.5; the key style is that of the official trainer
class LoraFile {
 public:
  struct Pair {
    ltxmem::WeightMatrix a;  ///< [rank, inputs]
    ltxmem::WeightMatrix b;  ///< [outputs, rank]
    std::int64_t rank() const noexcept { return a.rows; }
  };

  LoraFile(const std::filesystem::path& path, ltxmem::ResourceRef resource);

  const std::filesystem::path& path() const noexcept { return path_; }
  const TensorSource& tensors() const noexcept { return tensors_; }

  /// All pairs by module, the name below "diffusion_model." ("transformer_blocks.0.attn1.to_q").
  const std::map<std::string, Pair, std::less<>>& pairs() const noexcept { return pairs_; }

  /// The pair of a module, or null.
  const Pair* find(std::string_view module) const;

 private:
  std::filesystem::path path_;
  TensorSource tensors_;
  std::map<std::string, Pair, std::less<>> pairs_;
};

}  // namespace ltx2
