// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "ltxmem/core/error.hpp"
#include "media/cleanup.hpp"

namespace ltx2 {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const noexcept { return value_; }

 private:
  int value_;
};

/// "dir/clip.mp4" -> "dir/.clip.mp4.tmp-<process>-<number>"
std::string temporary_name(const std::string& final_path) {
  static std::atomic<unsigned> counter{0};
  const std::filesystem::path path(final_path);
  const std::string name =
      "." + path.filename().string() + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
  return (path.parent_path() / name).string();
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

void throw_io_error(const std::string& path, std::string_view what, int error_number) {
  throw ltxmem::IoError(path + ": " + std::string(what) + ": " + std::generic_category().message(error_number));
}

void expect_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (S_ISDIR(status.st_mode)) throw ltxmem::IoError(path + ": is a folder, expected the name of a file");
  if (!S_ISREG(status.st_mode)) throw ltxmem::IoError(path + ": exists and is not a regular file");
}

void expect_writable(const std::string& path) {
  expect_replaceable(path);
  const TemporaryOutput probe(path);
}

std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit_bytes) {
  // Non-blocking, so that a FIFO nobody writes to cannot hang the open; regular files ignore the flag.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw_io_error(path, "cannot open", errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_io_error(path, "cannot read", errno);
  if (S_ISDIR(status.st_mode)) throw ltxmem::IoError(path + ": is a folder, not a file");
  if (!S_ISREG(status.st_mode)) throw ltxmem::IoError(path + ": is not a regular file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit_bytes) {
    throw ltxmem::IoError(path + ": " + std::to_string(size) + " bytes, at most " + std::to_string(limit_bytes) +
                          " are accepted");
  }
  std::vector<std::byte> data(static_cast<std::size_t>(size));
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t count = ::read(file.get(), data.data() + done, data.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error(path, "cannot read", errno);
    if (count == 0) throw ltxmem::IoError(path + ": became shorter while it was read");
    done += static_cast<std::size_t>(count);
  }
  return data;
}

TemporaryOutput::TemporaryOutput(std::string final_path, Kind kind)
    : final_path_(without_trailing_slashes(std::move(final_path))), path_(temporary_name(final_path_)), kind_(kind) {
  Cleanup::process().add_path(path_);
  if (kind_ == Kind::folder) {
    if (::mkdir(path_.c_str(), 0777) == 0) return;
  } else {
    const Descriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.get() >= 0) return;
  }
  const int cause = errno;
  Cleanup::process().forget_path(path_);
  throw_io_error(final_path_, "cannot create a file in its folder", cause);
}

TemporaryOutput::~TemporaryOutput() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  Cleanup::process().forget_path(path_);
}

void TemporaryOutput::commit() {
  if (kind_ == Kind::file) {
    // Delayed allocation reports a full device only here; a rename after that would publish a hole.
    const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) throw_io_error(final_path_, "cannot reopen the temporary file", errno);
    if (::fsync(file.get()) != 0 && errno != EINVAL) throw_io_error(final_path_, "cannot write", errno);
  }
  if (std::rename(path_.c_str(), final_path_.c_str()) != 0) {
    throw_io_error(final_path_, "cannot give the finished output its name", errno);
  }
  Cleanup::process().forget_path(path_);
  path_.clear();
}

FileWriter::FileWriter(const std::string& path, std::string shown_path)
    : shown_path_(std::move(shown_path)),
      descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_io_error(shown_path_, "cannot open for writing", errno);
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t count = ::write(descriptor_, data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io_error(shown_path_, "cannot write", errno);
    data = data.subspan(static_cast<std::size_t>(count));
  }
}

void FileWriter::close() {
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (descriptor >= 0 && ::close(descriptor) != 0) throw_io_error(shown_path_, "cannot write", errno);
}

void write_file(const std::string& path, std::span<const std::byte> data) {
  TemporaryOutput output(path);
  FileWriter writer(output.path(), path);
  writer.write(data);
  writer.close();
  output.commit();
}

}  // namespace ltx2
