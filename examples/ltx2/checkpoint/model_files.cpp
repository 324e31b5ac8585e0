// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/model_files.hpp"

#include <algorithm>
#include <string>
#include <system_error>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

using ltxmem::IoError;
namespace fs = std::filesystem;

namespace {

/// Without the exceptions of the standard library: what cannot be looked at is opened later, which names the reason.
bool is_folder(const fs::path& path) noexcept {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool is_there(const fs::path& path) noexcept {
  std::error_code error;
  return fs::exists(path, error);
}

ModelConfig read_gemma_config(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  ModelConfig config;
  config.json = is_there(file) ? read_json_file(file.string()) : Json::object();
  config.gemma = parse_gemma_config(Fields(config.json, file.string()));
  return config;
}

}  // namespace

std::vector<fs::path> model_files(const fs::path& path) {
  if (!is_folder(path)) return {path};
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator entry(path, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") files.push_back(entry->path());
  }
  if (error) throw IoError(path.string() + ": cannot read the folder: " + error.message());
  if (files.empty()) throw IoError(path.string() + ": no *.safetensors file in this folder");
  std::sort(files.begin(), files.end());
  return files;
}

ModelConfig read_model_config(const fs::path& path, const TensorSource& tensors) {
  if (is_folder(path)) {
    if (!is_there(path / "config.json")) throw IoError(path.string() + ": no config.json in this folder");
    return read_gemma_config(path);
  }
  for (const StoredTensor& tensor : tensors.tensors()) {
    if (tensor.name.find("keyframes_abs_pos_embedding") != std::string::npos) {
      throw IoError(path.string() + ": this is an LTX-2.5 model (tensor '" + tensor.name +
                    "'); LTX-2.0 and LTX-2.3 are supported");
    }
  }
  const auto& metadata = tensors.files().front().metadata();
  if (!metadata.contains("config") && !gemma_prefix(tensors).empty()) return read_gemma_config(path.parent_path());
  return parse_model_config(metadata, path.string());
}

std::string_view gemma_prefix(const TensorSource& tensors) {
  for (const std::string_view prefix : {"language_model.model.", "model.language_model.", "model."}) {
    if (tensors.find(std::string(prefix) + "embed_tokens.weight") != nullptr) return prefix;
  }
  return {};
}

}  // namespace ltx2
