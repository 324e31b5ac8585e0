// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "ltxmem/io/safetensors.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "synth/synthesise.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

namespace ltx2::test {

/// A model file in memory, to be damaged on purpose.
struct ModelImage {
  struct Tensor {
    ltxmem::TensorSpec spec;
    std::string data;
  };

  ltxmem::SafetensorsMetadata metadata;
  std::vector<Tensor> tensors;

  static ModelImage read(const std::string& path) {
    const ltxmem::SafetensorsFile file{std::filesystem::path(path)};
    ModelImage image;
    image.metadata.assign(file.metadata().begin(), file.metadata().end());
    for (const ltxmem::TensorInfo& info : file.tensors()) {
      image.tensors.push_back(
          {{info.name, info.dtype, info.shape}, {reinterpret_cast<const char*>(file.data(info)), info.bytes}});
    }
    return image;
  }

  static ModelImage synthesised(const Description& description) {
    const ScratchFolder folder;
    synthesise(description, folder / "model");
    return read(folder / "model");
  }

  Tensor& at(const std::string& name) {
    for (Tensor& tensor : tensors) {
      if (tensor.spec.name == name) return tensor;
    }
    throw std::logic_error("no tensor " + name);
  }

  void drop(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.spec.name == name; });
  }

  /// The whole file. The header is as long as its JSON and padding, or longer by some spaces, which misaligns the data.
  std::string bytes(std::size_t extra_spaces = 0) const {
    std::vector<ltxmem::TensorSpec> specs;
    for (const Tensor& tensor : tensors) specs.push_back(tensor.spec);
    const std::string header = ltxmem::safetensors_header(specs, metadata) + std::string(extra_spaces, ' ');
    std::string out;
    for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>((header.size() >> shift) & 0xffU));
    out += header;
    for (const Tensor& tensor : tensors) out += tensor.data;
    return out;
  }
};

/// A golden description with only these components and one transformer block.
inline Description small_description(const std::string& name, const Json& components) {
  Json json = read_json_file(golden_path("configs/" + name + ".json"));
  json["components"] = components;
  json["config"]["transformer"]["num_layers"] = 1;
  return parse_description(json, name);
}

}  // namespace ltx2::test
