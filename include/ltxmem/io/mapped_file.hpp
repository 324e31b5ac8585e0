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
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
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

/// Memory  address space of the file's size, no copy; the file stays open
/// Throws  IoError (path and the system's reason); a folder, pipe or device is refused, an empty file is not
///
/// The bytes belong to whoever may write the file: a file cut short while it is mapped ends the program with SIGBUS
/// when the mapping is read; read() throws instead. Reading is safe from several threads.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path)
      : path_(std::move(path)), file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (file_.get() < 0) detail::throw_system_error(path_, "cannot open");
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) detail::throw_system_error(path_, "cannot read its size");
    if (S_ISDIR(status.st_mode)) detail::throw_system_error(path_, "cannot read", EISDIR);
    expects<IoError>(S_ISREG(status.st_mode), path_.string(), ": not a regular file");
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;  // mmap refuses a length of zero
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_.get(), 0);
    if (address == MAP_FAILED) detail::throw_system_error(path_, "cannot map");
    data_ = static_cast<const std::byte*>(address);
  }

  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        file_(std::move(other.file_)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// Copies the bytes from offset on without touching the mapping. IoError when the file has become too short or cannot
  /// be read.
  void read(std::size_t offset, std::span<std::byte> to) const {
    expects<IoError>(offset <= size_ && to.size() <= size_ - offset, path_.string(), ": read of ", to.size(),
                     " bytes at ", offset, " of ", size_);
    while (!to.empty()) {
      const ssize_t count = ::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) detail::throw_system_error(path_, "cannot read");
      expects<IoError>(count > 0, path_.string(), ": has become shorter: ", offset, " bytes, expected ", size_);
      offset += static_cast<std::size_t>(count);
      to = to.subspan(static_cast<std::size_t>(count));
    }
  }

  /// Says that these bytes will be read soon, or that they need not stay in the page cache. Only advice.
  void will_need(std::size_t offset, std::size_t bytes) const noexcept { advise(offset, bytes, POSIX_FADV_WILLNEED); }
  void drop(std::size_t offset, std::size_t bytes) const noexcept { advise(offset, bytes, POSIX_FADV_DONTNEED); }

 private:
  void advise(std::size_t offset, std::size_t bytes, int advice) const noexcept {
    if (file_.get() < 0) return;
    ::posix_fadvise(file_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes), advice);
  }

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  detail::FileDescriptor file_;
};

}  // namespace ltxmem
