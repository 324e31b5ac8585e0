// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>

#include "ltxmem/core/resource.hpp"

namespace ltxmem {

/// Counts the bytes asked of another resource: in use now, the most ever in use, and the sum over all requests.
/// Thread-safe when the resource below it is.
class CountingResource {
 public:
  explicit CountingResource(ResourceRef upstream) noexcept : upstream_(upstream) {}

  void* allocate(std::size_t bytes, std::size_t alignment) {
    void* pointer = upstream_.allocate(bytes, alignment);
    const std::size_t now = current_.fetch_add(bytes) + bytes;
    std::size_t peak = peak_.load();
    while (peak < now && !peak_.compare_exchange_weak(peak, now)) {
    }
    total_ += bytes;
    return pointer;
  }

  void deallocate(void* pointer, std::size_t bytes, std::size_t alignment) noexcept {
    upstream_.deallocate(pointer, bytes, alignment);
    current_ -= bytes;
  }

  std::size_t current_bytes() const noexcept { return current_; }
  std::size_t peak_bytes() const noexcept { return peak_; }
  std::size_t total_bytes() const noexcept { return total_; }

  /// Starts a new measurement: the peak becomes what is in use now.
  void reset_peak() noexcept { peak_ = current_.load(); }

 private:
  ResourceRef upstream_;
  std::atomic<std::size_t> current_ = 0;
  std::atomic<std::size_t> peak_ = 0;
  std::atomic<std::size_t> total_ = 0;
};

static_assert(MemoryResource<CountingResource>);

}  // namespace ltxmem
