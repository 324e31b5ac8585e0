// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "checkpoint/completeness.hpp"
#include "checkpoint/model_files.hpp"
#include "ltxmem/core/error.hpp"
#include "synth/description.hpp"
#include "synth/inventory.hpp"

namespace ltx2 {

using ltxmem::IoError;
using ltxmem::WeightMatrix;
using ltxmem::WeightVector;

namespace {

constexpr std::string_view transformer_prefix = "model.diffusion_model.";

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& path, ltxmem::ResourceRef resource)
    : tensors_(model_files(path), resource), config_(read_model_config(path, tensors_)) {
  check_completeness(tensors_, config_);
}

Checkpoint::Checkpoint(const Description& description)
    : tensors_(inventory(description)), config_(description.config) {}

void Checkpoint::fail(std::string_view tensor, std::string_view reason) const {
  throw IoError(tensors_.name() + ": tensor '" + std::string(tensor) + "': " + std::string(reason));
}

const StoredTensor& Checkpoint::checked(std::string_view name, const std::vector<std::int64_t>& shape) const {
  const StoredTensor* tensor = tensors_.find(name);
  if (tensor == nullptr) fail(name, "missing, expected shape " + ltxmem::shape_text(shape));
  if (tensor->shape != shape) {
    fail(name, "shape " + ltxmem::shape_text(tensor->shape) + ", expected " + ltxmem::shape_text(shape));
  }
  return *tensor;
}

WeightMatrix Checkpoint::tensor(std::string_view name, const std::vector<std::int64_t>& shape) const {
  return weight_matrix(tensors_, checked(name, shape));
}

WeightMatrix Checkpoint::matrix(std::string_view name, std::int64_t rows, std::int64_t columns) const {
  return tensor(name, {rows, columns});
}

WeightVector Checkpoint::vector(std::string_view name, std::int64_t size) const {
  const WeightMatrix column = tensor(name, {size});
  if (column.scale != nullptr) fail(name, "a vector with a scale, which is not supported");
  WeightVector vector;
  vector.data = column.data;
  vector.dtype = column.dtype;
  vector.size = size;
  return vector;
}

LinearWeights Checkpoint::linear(std::string_view module, std::int64_t outputs, std::int64_t inputs,
                                 const Loras& loras) const {
  const std::string name(module);
  LinearWeights layer;
  layer.weight = matrix(name + ".weight", outputs, inputs);
  if (has(name + ".bias")) layer.bias = vector(name + ".bias", outputs);
  if (!module.starts_with(transformer_prefix)) return layer;
  module.remove_prefix(transformer_prefix.size());
  for (const ActiveLora& lora : loras) {
    if (const LoraFile::Pair* pair = lora.file->find(module)) {
      layer.loras.push_back({pair->a, pair->b, lora.strength});
    }
  }
  return layer;
}

LinearWeights Checkpoint::convolution(std::string_view module, std::int64_t outputs, std::int64_t inputs,
                                      const std::vector<std::int64_t>& kernel) const {
  const std::string name(module);
  std::vector<std::int64_t> shape{outputs, inputs};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  LinearWeights layer;
  layer.weight = tensor(name + ".weight", shape);
  if (has(name + ".bias")) layer.bias = vector(name + ".bias", outputs);
  return layer;
}

std::vector<Checkpoint::SourcedTensor> Checkpoint::tensors_below(std::string_view prefix,
                                                                 const std::vector<std::string>& exceptions) const {
  std::vector<SourcedTensor> found;
  const auto add = [&](const TensorSource& source, std::string_view start) {
    for (const StoredTensor& tensor : source.tensors()) {
      if (!tensor.name.starts_with(start)) continue;
      const std::string_view rest = std::string_view(tensor.name).substr(start.size());
      if (std::any_of(exceptions.begin(), exceptions.end(), [&](auto& name) { return rest.starts_with(name); }))
        continue;
      found.push_back({&source, &tensor});
    }
  };
  add(tensors_, prefix);
  if (!prefix.starts_with(transformer_prefix)) return found;
  std::set<const LoraFile*> seen;  // one file may be active twice, with two strengths
  for (const ActiveLora& lora : *loras_) {
    // The names of a LoRA start with a shorter prefix: "diffusion_model.".
    if (seen.insert(lora.file.get()).second) add(lora.file->tensors(), prefix.substr(prefix.find('.') + 1));
  }
  return found;
}

WeightScope Checkpoint::prefixed(std::string prefix) const {
  return {*this, std::move(prefix)};
}

WeightScope Checkpoint::gemma() const {
  const std::string_view prefix = gemma_prefix(tensors_);
  if (prefix.empty()) throw IoError(tensors_.name() + ": no Gemma text model");
  return {*this, std::string(prefix)};
}

void Checkpoint::add_lora(std::shared_ptr<const LoraFile> lora, float strength) {
  for (const auto& [module, pair] : lora->pairs()) {
    const StoredTensor* weight = tensors_.find(std::string(transformer_prefix) + module + ".weight");
    const std::string who = lora->path().string() + ": module '" + module + "': ";
    if (weight == nullptr) throw IoError(who + "not in the checkpoint " + tensors_.name());
    const std::vector<std::int64_t> shape{pair.b.rows, pair.a.columns};
    if (weight->shape != shape) {
      throw IoError(who + "made for a weight " + ltxmem::shape_text(shape) + ", the checkpoint has " +
                    ltxmem::shape_text(weight->shape));
    }
  }
  auto loras = std::make_shared<Loras>(*loras_);
  loras->push_back({std::move(lora), strength});
  loras_ = std::move(loras);
}

}  // namespace ltx2
