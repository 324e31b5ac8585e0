// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/lora_file.hpp"

#include <string_view>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

namespace {

constexpr std::string_view prefix = "diffusion_model.";
constexpr std::string_view suffix_a = ".lora_A.weight";
constexpr std::string_view suffix_b = ".lora_B.weight";

}  // namespace

LoraFile::LoraFile(const std::filesystem::path& path, ltxmem::ResourceRef resource)
    : path_(path), tensors_({path}, resource) {
  const auto refuse = [&](const std::string& name, const std::string& reason) {
    throw ltxmem::IoError(path_.string() + ": tensor '" + name + "': " + reason);
  };
  for (const StoredTensor& tensor : tensors_.tensors()) {
    std::string_view module = tensor.name;
    const bool is_a = module.ends_with(suffix_a);
    if (!module.starts_with(prefix) || (!is_a && !module.ends_with(suffix_b)) ||
        module.size() <= prefix.size() + suffix_a.size()) {
      refuse(tensor.name, "not a LoRA key, expected diffusion_model.<module>.lora_A.weight or .lora_B.weight");
    }
    module.remove_prefix(prefix.size());
    module.remove_suffix(suffix_a.size());
    if (tensor.shape.size() != 2 || tensor.bytes == 0) {
      refuse(tensor.name, "shape " + ltxmem::shape_text(tensor.shape) + ", expected two dimensions above zero");
    }
    Pair& pair = pairs_[std::string(module)];
    (is_a ? pair.a : pair.b) = weight_matrix(tensors_, tensor);
  }
  for (const auto& [module, pair] : pairs_) {
    const std::string base = std::string(prefix) + module;
    if (pair.a.empty()) refuse(base + std::string(suffix_a), "missing beside its lora_B");
    if (pair.b.empty()) refuse(base + std::string(suffix_b), "missing beside its lora_A");
    if (pair.a.rows != pair.b.columns) {
      refuse(base + std::string(suffix_b),
             "rank " + std::to_string(pair.b.columns) + ", expected " + std::to_string(pair.a.rows) + " as in lora_A");
    }
  }
  if (pairs_.empty()) throw ltxmem::IoError(path_.string() + ": no LoRA tensors");
}

const LoraFile::Pair* LoraFile::find(std::string_view module) const {
  const auto found = pairs_.find(module);
  return found == pairs_.end() ? nullptr : &found->second;
}

}  // namespace ltx2
