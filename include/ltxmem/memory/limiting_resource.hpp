// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"

namespace ltxmem {

/// Serves at most a fixed number of bytes at any time; the request that would exceed it throws OutOfMemory, which names
/// what was asked, what is in use and the limit. Thread-safe when the resource below it is.
class LimitingResource {
 public:
  LimitingResource(ResourceRef upstream, std::size_t limit_bytes, std::string name = "memory limit")
      : upstream_(upstream), limit_(limit_bytes), name_(std::move(name)) {}

  void* allocate(std::size_t bytes, std::size_t alignment) {
    std::size_t in_use = current_.load();
    do {
      if (bytes > limit_ || in_use > limit_ - bytes) throw OutOfMemory(name_, bytes, in_use, limit_);
    } while (!current_.compare_exchange_weak(in_use, in_use + bytes));
    try {
      return upstream_.allocate(bytes, alignment);
    } catch (...) {
      current_ -= bytes;
      throw;
    }
  }

  void deallocate(void* pointer, std::size_t bytes, std::size_t alignment) noexcept {
    upstream_.deallocate(pointer, bytes, alignment);
    current_ -= bytes;
  }

  std::size_t current_bytes() const noexcept { return current_; }
  std::size_t limit_bytes() const noexcept { return limit_; }

 private:
  ResourceRef upstream_;
  std::size_t limit_;
  std::string name_;
  std::atomic<std::size_t> current_ = 0;
};

static_assert(MemoryResource<LimitingResource>);

}  // namespace ltxmem
