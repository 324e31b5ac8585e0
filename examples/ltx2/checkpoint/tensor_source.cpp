// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensor_source.hpp"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

using ltxmem::IoError;

namespace {

/// No program on a 64-bit machine can own addresses from here on, so a dry run that reads a weight ends at once.
constexpr std::uintptr_t unowned_addresses = std::uintptr_t{1} << 60;

}  // namespace

TensorSource::TensorSource(const std::vector<std::filesystem::path>& files, ltxmem::ResourceRef resource)
    : name_(files.front().string()) {
  for (const auto& path : files) {
    const ltxmem::SafetensorsFile& file = files_.emplace_back(path);
    for (const ltxmem::TensorInfo& info : file.tensors()) {
      StoredTensor& tensor = tensors_.emplace_back();
      tensor.name = info.name;
      tensor.dtype = info.dtype;
      tensor.shape = info.shape;
      tensor.data = file.data(info);
      tensor.bytes = info.bytes;
      tensor.file = files_.size() - 1;
      if (file.is_aligned(info)) continue;
      Release release{resource, info.bytes};
      auto* copy = static_cast<std::byte*>(resource.allocate(info.bytes, ltxmem::buffer_alignment));
      copies_.emplace_back(copy, release);
      std::memcpy(copy, tensor.data, info.bytes);
      tensor.data = copy;
      copied_bytes_ += info.bytes;
    }
  }
  index_tensors();
}

TensorSource::TensorSource(const std::vector<ltxmem::TensorSpec>& described) : name_("description") {
  std::uintptr_t address = unowned_addresses;
  for (const ltxmem::TensorSpec& spec : described) {
    StoredTensor& tensor = tensors_.emplace_back();
    tensor.name = spec.name;
    tensor.dtype = spec.dtype;
    tensor.shape = spec.shape;
    tensor.data = reinterpret_cast<const std::byte*>(address);
    tensor.bytes = spec.bytes();
    address += ltxmem::aligned_bytes(tensor.bytes);
  }
  index_tensors();
}

void TensorSource::index_tensors() {
  index_.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const auto [twin, added] = index_.emplace(tensors_[i].name, i);
    if (!added) {
      throw IoError(name(tensors_[i]) + ": tensor '" + tensors_[i].name + "': also in " + name(tensors_[twin->second]));
    }
  }
}

std::string TensorSource::name(const StoredTensor& tensor) const {
  return files_.empty() ? name_ : files_[tensor.file].path().string();
}

const StoredTensor* TensorSource::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

ltxmem::WeightMatrix weight_matrix(const TensorSource& source, const StoredTensor& tensor) {
  const auto refuse = [&](const std::string& name, const std::string& reason) {
    throw IoError(source.name(tensor) + ": tensor '" + name + "': " + reason);
  };
  using ltxmem::DType;
  const DType type = tensor.dtype;
  if (type != DType::f32 && type != DType::bf16 && type != DType::f16 && type != DType::f8_e4m3) {
    refuse(tensor.name, "type " + std::string(dtype_name(type)) + ", expected F32, BF16, F16 or F8_E4M3");
  }
  ltxmem::WeightMatrix matrix;
  matrix.data = tensor.data;
  matrix.dtype = type;
  matrix.rows = tensor.shape.empty() ? 1 : tensor.shape.front();
  matrix.columns = 1;
  for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis) matrix.columns *= tensor.shape[axis];
  matrix.row_stride = matrix.columns;
  if (const StoredTensor* scale = source.find(tensor.name + "_scale")) {
    if (scale->dtype != DType::f32 || scale->bytes != sizeof(float)) {
      refuse(scale->name, std::string(dtype_name(scale->dtype)) + " " + ltxmem::shape_text(scale->shape) +
                              ", expected one F32 value");
    }
    matrix.scale = reinterpret_cast<const float*>(scale->data);
  }
  return matrix;
}

std::uint64_t TensorSource::fingerprint() const {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto add = [&](std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3;
  };
  for (const StoredTensor& tensor : tensors_) {
    add(std::as_bytes(std::span(tensor.name)));
    add(std::as_bytes(std::span(&tensor.dtype, 1)));
    add(std::as_bytes(std::span(tensor.shape)));
    if (!is_described()) add({tensor.data, std::min<std::size_t>(tensor.bytes, 64)});
  }
  return hash;
}

}  // namespace ltx2
