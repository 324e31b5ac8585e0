// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Files that appear whole or not at all.

namespace ltx2 {

/// Reads a regular file into memory.
///
/// Throws    IoError naming the path and the cause: missing, a folder, a device, larger than the limit
std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit_bytes);

/// IoError when the path exists and is not a regular file: a finished output is renamed to its name, which would put a
/// file in the place of a device such as /dev/null.
void expect_replaceable(const std::string& path);

/// The same, and IoError unless a file can be made in the path's folder: shows before the work what would fail after
/// it.
void expect_writable(const std::string& path);

/// A temporary file or folder beside its final place; commit() renames it there, otherwise it is removed.
///
/// The temporary is a hidden name in the folder of the final path, hence on the same file system, so that the rename is
/// atomic. It is registered with Cleanup::process().
///
/// Throws    IoError naming the final path and the cause
class TemporaryOutput {
 public:
  enum class Kind { file, folder };

  explicit TemporaryOutput(std::string final_path, Kind kind = Kind::file);
  TemporaryOutput(const TemporaryOutput&) = delete;
  TemporaryOutput& operator=(const TemporaryOutput&) = delete;
  ~TemporaryOutput();

  /// Where to write meanwhile. A file exists already and is empty.
  const std::string& path() const noexcept { return path_; }
  const std::string& final_path() const noexcept { return final_path_; }

  /// Flushes a file to the device and renames. A file replaces what was there; a folder only replaces an empty one.
  void commit();

 private:
  std::string final_path_;
  std::string path_;
  Kind kind_;
};

/// Sequential writer to an existing path; reports every failure, including those that only show on closing.
///
/// Throws    IoError naming `shown_path` (what the user asked for) and the cause, "No space left on device" among them
class FileWriter {
 public:
  FileWriter(const std::string& path, std::string shown_path);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();

  void write(std::span<const std::byte> data);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void close();

 private:
  std::string shown_path_;
  int descriptor_ = -1;
};

/// Writes a whole file through a TemporaryOutput.
void write_file(const std::string& path, std::span<const std::byte> data);

/// "PATH: WHAT: cause from errno", the form of all messages here.
[[noreturn]] void throw_io_error(const std::string& path, std::string_view what, int error_number);

}  // namespace ltx2
