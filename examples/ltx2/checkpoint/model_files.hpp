// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "checkpoint/tensor_source.hpp"
#include "config/model_config.hpp"

/// Which files make up a model and what they say about themselves.

namespace ltx2 {

/// The file itself, or all *.safetensors files of a folder in the order of their names. IoError when there is none.
std::vector<std::filesystem::path> model_files(const std::filesystem::path& path);

/// The configuration of opened model files: the metadata of a checkpoint or upsampler; for Gemma the config.json of
/// the folder, or of the folder that the file lies in, or the 12B model's values. IoError when there is none, or when
/// the file or its tensors are those of LTX-2.5.
ModelConfig read_model_config(const std::filesystem::path& path, const TensorSource& tensors);

/// The prefix under which Gemma's layers are stored, one of the three in use; empty when there are none.
std::string_view gemma_prefix(const TensorSource& tensors);

}  // namespace ltx2
