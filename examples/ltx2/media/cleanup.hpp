// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace ltx2 {

/// What must not outlive the program: temporary files and folders, and the processes that write into them.
///
/// Owners (TemporaryOutput, ChildProcess) register on construction and forget on destruction, so on ordinary paths this
/// list is empty at the end. It exists for the other paths: std::exit from inside, and the second Ctrl-C.
///
/// Thread safety: every member function may be called from any thread.
class Cleanup {
 public:
  Cleanup() = default;
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;
  /// Removes what is still registered.
  ~Cleanup();

  /// The list of this process.
  static Cleanup& process();

  void add_path(const std::string& path);
  void forget_path(const std::string& path) noexcept;

  /// Starts a process and registers it in one step, so that remove_everything never misses one that is being started.
  template <class Start>
  pid_t start_child(Start&& start) {
    const std::lock_guard lock(mutex_);
    children_.reserve(children_.size() + 1);
    const pid_t child = start();
    children_.push_back(child);
    return child;
  }
  void forget_child(pid_t child) noexcept;

  /// Kills the registered processes, then removes the registered paths (folders with everything in them).
  void remove_everything() noexcept;
  /// The same, and from then on every other member function blocks: no thread can leave something new behind while
  /// the process is about to end.
  void remove_everything_for_exit() noexcept;

  std::size_t path_count() const;

 private:
  void remove_locked() noexcept;

  mutable std::mutex mutex_;
  std::vector<std::string> paths_;
  std::vector<pid_t> children_;
};

/// A path in the list of this process while it lives: a temporary whose owner does not know the list.
class RegisteredPath {
 public:
  explicit RegisteredPath(std::string path) : path_(std::move(path)) { Cleanup::process().add_path(path_); }
  RegisteredPath(const RegisteredPath&) = delete;
  RegisteredPath& operator=(const RegisteredPath&) = delete;
  ~RegisteredPath() { Cleanup::process().forget_path(path_); }

 private:
  std::string path_;
};

}  // namespace ltx2
