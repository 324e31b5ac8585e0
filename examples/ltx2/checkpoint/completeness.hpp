// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "checkpoint/tensor_source.hpp"
#include "config/model_config.hpp"
#include "ltxmem/io/safetensors_writer.hpp"

namespace ltx2 {

/// A part of a model and the tensors that the configuration calls for (names and shapes; files choose their types).
struct ExpectedComponent {
  std::string name;
  std::vector<ltxmem::TensorSpec> tensors;
};

/// Checks the parts that a model file has (those with at least one tensor) against its configuration and returns them.
///
/// A part is there as a whole or not at all. Without this check a bias that is missing would read as a layer without
/// one. Throws  IoError naming file and tensor: a tensor missing, of another shape or of a type without arithmetic; a
/// part
///         without its section of the configuration; parts whose widths do not fit together; an fp8 scale that is
///         missing, not finite or not above zero; a file without any known part
std::vector<ExpectedComponent> check_completeness(const TensorSource& tensors, const ModelConfig& config);

}  // namespace ltx2
