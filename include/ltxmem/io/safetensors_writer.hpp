// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/shape.hpp"
#include "ltxmem/io/json.hpp"
#include "ltxmem/io/mapped_file.hpp"

/// Writer of safetensors files that never leaves a partial file under the final name.

namespace ltxmem {

/// A tensor to be written.
struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;

  std::size_t bytes() const {
    auto count = static_cast<std::int64_t>(dtype_bytes(dtype));
    for (const std::int64_t extent : shape) count = checked_product(count, extent);
    return static_cast<std::size_t>(count);
  }
};

/// Metadata in the order it is written.
using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// The header's JSON, padded with spaces to a multiple of 8: what Python's json.dumps writes for the same mapping.
inline std::string safetensors_header(const std::vector<TensorSpec>& tensors, const SafetensorsMetadata& metadata) {
  std::string out = "{\"__metadata__\": {";
  for (const auto& [key, value] : metadata) {
    if (out.back() != '{') out += ", ";
    append_json_string(out, key);
    out += ": ";
    append_json_string(out, value);
  }
  out += "}";
  std::unordered_set<std::string_view> names{"__metadata__"};
  std::size_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    expects<IoError>(names.insert(tensor.name).second, "safetensors: tensor '", tensor.name, "' declared twice");
    out += ", ";
    append_json_string(out, tensor.name);
    out += ": {\"dtype\": \"";
    out += dtype_name(tensor.dtype);
    out += "\", \"shape\": [";
    for (const std::int64_t extent : tensor.shape) out += (out.back() == '[' ? "" : ", ") + std::to_string(extent);
    const std::size_t end = offset + tensor.bytes();
    out += "], \"data_offsets\": [" + std::to_string(offset) + ", " + std::to_string(end) + "]}";
    offset = end;
  }
  out += "}";
  out.append((8 - out.size() % 8) % 8, ' ');
  return out;
}

/// Writes a file tensor by tensor: every tensor is declared first, then the data follows in the same order, in pieces
/// of any size, then commit(). The data goes to a temporary file in the same folder; without commit() it is removed.
///
/// Memory  the header
/// Throws  IoError: folder missing or not writable, disk full, more or less data than declared
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(std::filesystem::path path, std::vector<TensorSpec> tensors,
                             const SafetensorsMetadata& metadata = {})
      : path_(std::move(path)), tensors_(std::move(tensors)), file_(-1) {
    const std::string header = safetensors_header(tensors_, metadata);
    std::string length;
    for (int shift = 0; shift < 64; shift += 8) length.push_back(static_cast<char>((header.size() >> shift) & 0xffU));
    create_temporary();
    try {
      write_all(std::as_bytes(std::span(length)));
      write_all(std::as_bytes(std::span(header)));
    } catch (...) {
      remove_temporary();
      throw;
    }
  }
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;
  ~SafetensorsWriter() { remove_temporary(); }

  /// Where the data goes until commit(); for programs that may have to remove it when no destructor runs.
  const std::string& temporary_path() const noexcept { return temporary_; }

  /// Appends data, which may end inside a tensor or run over several.
  void write(std::span<const std::byte> data) {
    std::size_t left = data.size();
    while (left > 0 || at_end_of_tensor()) {
      if (next_ == tensors_.size()) {
        throw IoError(path_.string() + ": " + std::to_string(left) + " bytes more than the declared tensors hold");
      }
      const std::size_t part = std::min(left, tensors_[next_].bytes() - written_);
      written_ += part;
      left -= part;
      if (at_end_of_tensor()) {
        ++next_;
        written_ = 0;
      }
    }
    write_all(data);
  }

  /// Ends the file: flushed to the disk and renamed to its final name. IoError naming the tensor that lacks data.
  void commit() {
    write({});
    if (next_ < tensors_.size()) {
      throw IoError(path_.string() + ": tensor '" + tensors_[next_].name + "' has " + std::to_string(written_) +
                    " bytes of data, expected " + std::to_string(tensors_[next_].bytes()));
    }
    if (::fsync(file_.get()) != 0) detail::throw_system_error(path_, "cannot write");
    if (::close(file_.release()) != 0) detail::throw_system_error(path_, "cannot write");
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) detail::throw_system_error(path_, "cannot rename to it");
    temporary_.clear();
  }

 private:
  bool at_end_of_tensor() const { return next_ < tensors_.size() && written_ == tensors_[next_].bytes(); }

  void create_temporary() {
    for (int attempt = 0;; ++attempt) {
      temporary_ = path_.string() + ".tmp" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
      const int number = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (number >= 0) {
        file_.reset(number);
        return;
      }
      if (errno != EEXIST || attempt == 1000) {
        temporary_.clear();
        detail::throw_system_error(path_, "cannot create");
      }
    }
  }

  void write_all(std::span<const std::byte> data) {
    while (!data.empty()) {
      const ::ssize_t count = ::write(file_.get(), data.data(), data.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) detail::throw_system_error(path_, "cannot write", count < 0 ? errno : ENOSPC);
      data = data.subspan(static_cast<std::size_t>(count));
    }
  }

  void remove_temporary() noexcept {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  std::filesystem::path path_;
  std::string temporary_;  // empty when there is none to remove
  std::vector<TensorSpec> tensors_;
  detail::FileDescriptor file_;
  std::size_t next_ = 0;     // tensor being written
  std::size_t written_ = 0;  // bytes of it so far
};

}  // namespace ltxmem
