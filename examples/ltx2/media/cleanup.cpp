// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/cleanup.hpp"

#include <csignal>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace ltx2 {

Cleanup::~Cleanup() {
  remove_everything();
}

Cleanup& Cleanup::process() {
  static Cleanup cleanup;
  return cleanup;
}

void Cleanup::add_path(const std::string& path) {
  const std::lock_guard lock(mutex_);
  paths_.push_back(path);
}

void Cleanup::forget_path(const std::string& path) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(paths_.begin(), paths_.end(), path);
  if (found != paths_.end()) paths_.erase(found);
}

void Cleanup::forget_child(pid_t child) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(children_, child);
}

void Cleanup::remove_everything() noexcept {
  const std::lock_guard lock(mutex_);
  remove_locked();
}

void Cleanup::remove_everything_for_exit() noexcept {
  mutex_.lock();  // never unlocked: see the header
  remove_locked();
}

std::size_t Cleanup::path_count() const {
  const std::lock_guard lock(mutex_);
  return paths_.size();
}

void Cleanup::remove_locked() noexcept {
  for (const pid_t child : children_) ::kill(child, SIGKILL);
  children_.clear();
  for (const std::string& path : paths_) {
    // A thread of this process may still be adding files to a folder, hence a few attempts.
    for (int attempt = 0; attempt < 5; ++attempt) {
      std::error_code error;
      std::filesystem::remove_all(path, error);
      if (!error) break;
    }
  }
  paths_.clear();
}

}  // namespace ltx2
