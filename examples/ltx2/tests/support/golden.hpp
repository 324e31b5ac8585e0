// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "ltxmem/io/safetensors.hpp"

namespace ltx2::test {

/// A file of the reference data: from the repository, else from the complete collection beside it.
inline std::string golden_path(const std::string& name) {
  const std::filesystem::path own = std::filesystem::path(LTX2_GOLDEN_DIR) / name;
  return std::filesystem::exists(own) ? own : std::filesystem::path(LTX2_SHARED_GOLDEN_DIR) / name;
}

/// The elements of a tensor whose dtype is that of T.
template <class T>
std::vector<T> tensor_values(const ltxmem::SafetensorsFile& file, std::string_view name) {
  const ltxmem::TensorInfo& info = file.at(name);
  std::vector<T> values(info.bytes / sizeof(T));
  std::memcpy(values.data(), file.data(info), info.bytes);
  return values;
}

}  // namespace ltx2::test
