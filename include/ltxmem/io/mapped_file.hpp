// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "ltxmem/core/error.hpp"

/// A file seen as read-only memory. The kernel reads pages when they are touched and may drop them again, so a mapped
/// checkpoint costs address space, not memory. POSIX.

namespace ltxmem {

namespace detail {

/// "<path>: <what>: <text of errno>".
[[noreturn]] inline void throw_system_error(const std::filesystem::path& path, const char* what, int error = errno) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(error));
}

/// Closes a file descriptor when it goes out of scope.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number) noexcept : number_(number) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { reset(-1); }

  int get() const noexcept { return number_; }
  int release() noexcept { return std::exchange(number_, -1); }
  void reset(int number) noexcept {
    if (number_ >= 0) ::close(number_);
    number_ = number;
  }

 private:
  int number_;
};

}  // namespace detail

/// Memory  address space of the file's size; no copy
/// Throws  IoError (path and the system's reason); a folder, pipe or device is refused, an empty file is not
///
/// The bytes belong to whoever may write the file: a file cut short while it is mapped ends the program with SIGBUS.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {
    const detail::FileDescriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) detail::throw_system_error(path_, "cannot open");
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) detail::throw_system_error(path_, "cannot read its size");
    if (S_ISDIR(status.st_mode)) detail::throw_system_error(path_, "cannot read", EISDIR);
    expects<IoError>(S_ISREG(status.st_mode), path_.string(), ": not a regular file");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;  // mmap refuses a length of zero
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (address == MAP_FAILED) detail::throw_system_error(path_, "cannot map");
    data_ = static_cast<const std::byte*>(address);
  }

  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ltxmem
