// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/resource.hpp"

namespace ltx2 {

/// What a model file holds, part by part.
struct ModelReport {
  struct Component {
    std::string name;
    std::int64_t tensors = 0;
    std::int64_t parameters = 0;
    std::map<ltxmem::DType, std::size_t> bytes;  ///< per element type, scales of fp8 weights included
  };

  std::filesystem::path path;
  std::string kind;     ///< "LTX checkpoint", "latent upsampler", "LoRA", "Gemma text model"
  std::string version;  ///< "2.0" or "2.3" for checkpoints, with the file's own text where it has one; else empty
  std::size_t file_bytes = 0;
  std::size_t copied_bytes = 0;  ///< of tensors that lie misaligned in the file
  std::vector<Component> components;
  std::vector<std::string> unknown;  ///< tensors that no part calls for
};

/// Opens and checks a checkpoint, an upsampler, a LoRA or a Gemma file or folder completely. IoError for the first
/// thing that is wrong, naming file, tensor and reason.
ModelReport validate_model(const std::filesystem::path& path, ltxmem::ResourceRef resource);

}  // namespace ltx2
