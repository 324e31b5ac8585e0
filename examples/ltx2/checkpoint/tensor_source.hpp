// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/io/safetensors.hpp"
#include "ltxmem/io/safetensors_writer.hpp"

namespace ltx2 {

/// A named tensor and where its bytes are.
struct StoredTensor {
  std::string name;
  ltxmem::DType dtype = ltxmem::DType::f32;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  std::size_t file = 0;  ///< index into TensorSource::files()
};

/// Tensors by name: those of one or more safetensors files, mapped, or of a description, without any memory.
///
/// Memory  files: address space, and copies of misaligned tensors (made once, from the resource). Description: nothing;
///         data() of its tensors lies in a range of addresses that no program can own, so touching one ends the program
/// Throws  IoError for damaged files and for a tensor that two files hold
class TensorSource {
 public:
  TensorSource(const std::vector<std::filesystem::path>& files, ltxmem::ResourceRef resource);
  explicit TensorSource(const std::vector<ltxmem::TensorSpec>& described);

  /// What messages call the source: the first file or the description's text.
  std::string name(const StoredTensor& tensor) const;
  const std::string& name() const noexcept { return name_; }

  const std::vector<StoredTensor>& tensors() const noexcept { return tensors_; }
  const StoredTensor* find(std::string_view name) const;

  /// The mapped files; empty for a description.
  const std::vector<ltxmem::SafetensorsFile>& files() const noexcept { return files_; }

  /// A number that other files are unlikely to have: of names, types, shapes and the first bytes of every tensor.
  std::uint64_t fingerprint() const;

  bool is_described() const noexcept { return files_.empty(); }

  /// Bytes of the copies of misaligned tensors.
  std::size_t copied_bytes() const noexcept { return copied_bytes_; }

 private:
  void index_tensors();

  /// Frees a copy through the resource that gave it.
  struct Release {
    ltxmem::ResourceRef resource;
    std::size_t bytes;
    void operator()(std::byte* data) const noexcept { resource.deallocate(data, bytes, ltxmem::buffer_alignment); }
  };

  std::string name_;
  std::vector<ltxmem::SafetensorsFile> files_;
  std::vector<std::unique_ptr<std::byte, Release>> copies_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;  // keys are the names in tensors_
  std::size_t copied_bytes_ = 0;
};

/// A tensor of any rank as a matrix [first extent, product of the others], with the scale stored beside fp8 weights
/// under
/// `<name>_scale`. IoError when its element type has no arithmetic or the scale is no F32 scalar.
ltxmem::WeightMatrix weight_matrix(const TensorSource& source, const StoredTensor& tensor);

}  // namespace ltx2
