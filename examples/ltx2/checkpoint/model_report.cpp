// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/model_report.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/completeness.hpp"
#include "checkpoint/model_files.hpp"

namespace ltx2 {

namespace {

void count(ModelReport::Component& component, const StoredTensor& tensor) {
  ++component.tensors;
  component.parameters += static_cast<std::int64_t>(tensor.bytes / ltxmem::dtype_bytes(tensor.dtype));
  component.bytes[tensor.dtype] += tensor.bytes;
}

void measure_files(ModelReport& report, const TensorSource& tensors) {
  for (const ltxmem::SafetensorsFile& file : tensors.files()) report.file_bytes += file.file_bytes();
  report.copied_bytes = tensors.copied_bytes();
}

ModelReport report_lora(const std::filesystem::path& path, ltxmem::ResourceRef resource) {
  const LoraFile lora(path, resource);
  ModelReport report;
  report.path = path;
  report.kind = "LoRA";
  measure_files(report, lora.tensors());
  ModelReport::Component component;
  component.name = std::to_string(lora.pairs().size()) + " layers";
  for (const StoredTensor& tensor : lora.tensors().tensors()) count(component, tensor);
  report.components.push_back(component);
  return report;
}

std::string version_text(const ModelConfig& config) {
  std::string text(model_version_name(config.version));
  if (!config.model_version.empty()) text += " (" + config.model_version + ")";
  return text;
}

bool is_lora(const std::filesystem::path& path) {
  const auto files = model_files(path);
  if (files.size() != 1 || files.front() != path) return false;
  const ltxmem::SafetensorsFile file(path);
  return std::any_of(file.tensors().begin(), file.tensors().end(), [](const ltxmem::TensorInfo& tensor) {
    return tensor.name.find(".lora_A.") != std::string::npos || tensor.name.find(".lora_B.") != std::string::npos;
  });
}

}  // namespace

ModelReport validate_model(const std::filesystem::path& path, ltxmem::ResourceRef resource) {
  if (is_lora(path)) return report_lora(path, resource);
  const Checkpoint checkpoint(path, resource);
  const ModelConfig& config = checkpoint.config();
  ModelReport report;
  report.path = path;
  report.kind = config.upsampler ? "latent upsampler" : config.gemma ? "Gemma text model" : "LTX checkpoint";
  if (!config.upsampler && !config.gemma) report.version = version_text(config);
  measure_files(report, checkpoint.tensors());
  std::unordered_set<std::string> known;
  for (const ExpectedComponent& expected : check_completeness(checkpoint.tensors(), config)) {
    ModelReport::Component component;
    component.name = expected.name;
    for (const ltxmem::TensorSpec& spec : expected.tensors) {
      for (const char* suffix : {"", "_scale"}) {
        const StoredTensor* tensor = checkpoint.tensors().find(spec.name + suffix);
        if (tensor == nullptr) continue;
        known.insert(tensor->name);
        count(component, *tensor);
      }
      if (spec.name.ends_with(".weight")) {  // of activations, for products in fp8; of no use here
        known.insert(spec.name.substr(0, spec.name.size() - std::string_view("weight").size()) + "input_scale");
      }
    }
    report.components.push_back(std::move(component));
  }
  for (const StoredTensor& tensor : checkpoint.tensors().tensors()) {
    if (!known.contains(tensor.name)) report.unknown.push_back(tensor.name);
  }
  return report;
}

}  // namespace ltx2
