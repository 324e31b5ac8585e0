// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/io/json.hpp"
#include "ltxmem/io/mapped_file.hpp"

/// Strict reader of safetensors files: header length (u64, little endian), header (JSON), tensor data.
///
/// The whole header is checked before the constructor returns, so that no offset can lead outside the mapping later.
/// Source  https://github.com/huggingface/safetensors, section "Format"

namespace ltxmem {

/// Element count of a shape; nothing when an extent is negative or the count does not fit 63 bits.
inline std::optional<std::int64_t> shape_elements(const std::vector<std::int64_t>& shape) noexcept {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && count > std::numeric_limits<std::int64_t>::max() / extent)) return std::nullopt;
    count *= extent;
  }
  return count;
}

/// "[2, 3, 4]".
inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

/// One tensor of a file.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::size_t offset = 0;  ///< of the first byte, from the start of the data (not of the file)
  std::size_t bytes = 0;

  std::int64_t elements() const noexcept { return static_cast<std::int64_t>(bytes / dtype_bytes(dtype)); }
};

/// The DType of a safetensors spelling ("BF16"), or nothing.
inline std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  static constexpr DType all[] = {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3, DType::f64,    DType::i8,
                                  DType::u8,  DType::i16,  DType::i32, DType::i64,     DType::boolean};
  for (const DType dtype : all) {
    if (dtype_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

/// A safetensors file, mapped and checked.
///
/// Computes  nothing: tensors are used where they lie in the mapping
/// Memory    the parsed header; the data only as address space
/// Throws    IoError naming file, tensor and reason for anything the format forbids: a header that is too long, cut
///           short or not strict JSON, unknown element types, sizes that do not follow from the shape, data that
///           overlaps, leaves holes or does not end with the file
///
/// Data may be misaligned for its element type (the format does not forbid it): see is_aligned().
class SafetensorsFile {
 public:
  /// What the format's own readers accept; real headers of large models have about 1 MB.
  static constexpr std::uint64_t max_header_bytes = 100'000'000;

  explicit SafetensorsFile(std::filesystem::path path) : file_(std::move(path)) { parse(); }

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  std::size_t file_bytes() const noexcept { return file_.bytes().size(); }
  std::size_t data_bytes() const noexcept { return file_bytes() - data_begin_; }

  /// The texts under "__metadata__".
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

  /// All tensors in the order of the header.
  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }

  /// The tensor of that name, or null.
  const TensorInfo* find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &tensors_[found->second];
  }

  /// The tensor of that name; IoError when there is none.
  const TensorInfo& at(std::string_view name) const {
    const TensorInfo* info = find(name);
    if (info == nullptr) fail(name, "missing");
    return *info;
  }

  const MappedFile& file() const noexcept { return file_; }

  const std::byte* data(const TensorInfo& info) const noexcept {
    return file_.bytes().data() + data_begin_ + info.offset;
  }

  /// True when the data may be read through a pointer to its element type.
  bool is_aligned(const TensorInfo& info) const noexcept {
    return reinterpret_cast<std::uintptr_t>(data(info)) % dtype_bytes(info.dtype) == 0;
  }

  /// A two-dimensional tensor in place; IoError when it is missing, of another rank or misaligned.
  WeightMatrix weight_matrix(std::string_view name) const {
    const TensorInfo& info = at(name);
    if (info.shape.size() != 2) fail(name, "shape " + shape_text(info.shape) + ", expected two dimensions");
    if (!is_aligned(info)) fail(name, "misaligned for " + std::string(dtype_name(info.dtype)));
    WeightMatrix matrix;
    matrix.data = data(info);
    matrix.dtype = info.dtype;
    matrix.rows = info.shape[0];
    matrix.columns = matrix.row_stride = info.shape[1];
    return matrix;
  }

 private:
  [[noreturn]] void fail(std::string_view reason) const { throw IoError(path().string() + ": " + std::string(reason)); }
  [[noreturn]] void fail(std::string_view tensor, std::string_view reason) const {
    throw IoError(path().string() + ": tensor '" + std::string(tensor) + "': " + std::string(reason));
  }

  void parse() {
    const auto bytes = file_.bytes();
    if (bytes.size() < 8) fail("too short for a safetensors file: " + std::to_string(bytes.size()) + " bytes");
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = (length << 8) | std::to_integer<std::uint64_t>(bytes[i]);
    if (length > max_header_bytes || length > bytes.size() - 8) {
      fail("header of " + std::to_string(length) + " bytes in a file of " + std::to_string(bytes.size()) +
           (length > max_header_bytes ? " (not a safetensors file?)" : " (truncated?)"));
    }
    data_begin_ = 8 + static_cast<std::size_t>(length);
    const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<std::size_t>(length));
    if (header.empty() || header.front() != '{') fail("the header does not start with '{'");
    const JsonValue root = parse_json(header, path().string() + ": header");
    for (const auto& [name, entry] : *root.get_if<JsonValue::Object>()) {
      if (name == "__metadata__") {
        read_metadata(entry);
      } else {
        read_tensor(name, entry);
      }
    }
    check_layout();
    index_.reserve(tensors_.size());
    for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
  }

  void read_metadata(const JsonValue& entry) {
    const auto* object = entry.get_if<JsonValue::Object>();
    if (object == nullptr) fail("__metadata__ is not an object");
    for (const auto& [key, value] : *object) {
      const auto* text = value.get_if<std::string>();
      if (text == nullptr) fail("__metadata__ entry '" + key + "' is not a string");
      metadata_.emplace(key, *text);
    }
  }

  void read_tensor(const std::string& name, const JsonValue& entry) {
    const auto* fields = entry.get_if<JsonValue::Object>();
    if (fields == nullptr) fail(name, "its entry is not an object");
    TensorInfo info;
    info.name = name;
    std::vector<std::int64_t> offsets;
    bool has_dtype = false, has_shape = false, has_offsets = false;
    for (const auto& [key, value] : *fields) {
      if (key == "dtype") {
        const auto* text = value.get_if<std::string>();
        const auto dtype = text == nullptr ? std::nullopt : dtype_from_name(*text);
        if (!dtype) fail(name, "unknown dtype" + (text == nullptr ? std::string() : " '" + *text + "'"));
        info.dtype = *dtype;
        has_dtype = true;
      } else if (key == "shape") {
        info.shape = integers(name, key, value);
        has_shape = true;
      } else if (key == "data_offsets") {
        offsets = integers(name, key, value);
        has_offsets = true;
      } else {
        fail(name, "unknown field '" + key + "'");
      }
    }
    if (!has_dtype) fail(name, "no dtype");
    if (!has_shape) fail(name, "no shape");
    if (!has_offsets) fail(name, "no data_offsets");
    set_extent(info, offsets);
    tensors_.push_back(std::move(info));
  }

  std::vector<std::int64_t> integers(const std::string& name, const std::string& key, const JsonValue& value) const {
    const auto* array = value.get_if<JsonValue::Array>();
    if (array == nullptr) fail(name, key + " is not a list");
    std::vector<std::int64_t> out;
    out.reserve(array->size());
    for (const JsonValue& item : *array) {
      const auto* number = item.get_if<std::int64_t>();
      if (number == nullptr || *number < 0) fail(name, key + " holds something that is not a non-negative integer");
      out.push_back(*number);
    }
    return out;
  }

  void set_extent(TensorInfo& info, const std::vector<std::int64_t>& offsets) const {
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      fail(info.name, "data_offsets " + shape_text(offsets) + ", expected a begin and an end");
    }
    if (static_cast<std::size_t>(offsets[1]) > data_bytes()) {
      fail(info.name,
           "data up to byte " + std::to_string(offsets[1]) + " of " + std::to_string(data_bytes()) + " (truncated?)");
    }
    info.offset = static_cast<std::size_t>(offsets[0]);
    info.bytes = static_cast<std::size_t>(offsets[1] - offsets[0]);
    const auto elements = shape_elements(info.shape);
    const auto unit = static_cast<std::int64_t>(dtype_bytes(info.dtype));
    if (!elements || *elements > std::numeric_limits<std::int64_t>::max() / unit) {
      fail(info.name, "shape " + shape_text(info.shape) + " overflows");
    }
    if (static_cast<std::size_t>(*elements * unit) != info.bytes) {
      fail(info.name, std::to_string(info.bytes) + " bytes of data, expected " + std::to_string(*elements * unit) +
                          " for " + std::string(dtype_name(info.dtype)) + " " + shape_text(info.shape));
    }
  }

  /// The tensors must cover the data exactly: anything else is damage or something hidden.
  void check_layout() const {
    std::vector<std::size_t> order(tensors_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::pair(tensors_[a].offset, tensors_[a].bytes) < std::pair(tensors_[b].offset, tensors_[b].bytes);
    });
    std::size_t end = 0;
    for (const std::size_t i : order) {
      const TensorInfo& info = tensors_[i];
      if (info.offset != end) {
        fail(info.name, "data begins at byte " + std::to_string(info.offset) + ", expected " + std::to_string(end) +
                            (info.offset < end ? " (overlaps another tensor)" : " (a hole before it)"));
      }
      end += info.bytes;
    }
    if (end != data_bytes()) {
      fail("the tensors end at byte " + std::to_string(end) + " of " + std::to_string(data_bytes()) + " of data");
    }
  }

  MappedFile file_;
  std::size_t data_begin_ = 0;
  std::map<std::string, std::string> metadata_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;  // keys are the names in tensors_
};

}  // namespace ltxmem
