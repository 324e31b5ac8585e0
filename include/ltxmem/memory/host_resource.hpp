// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <new>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"

namespace ltxmem {

/// Ordinary host memory, aligned. Throws OutOfMemory when the system refuses. Thread-safe.
class HostResource {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) {
    void* pointer = ::operator new(bytes, std::align_val_t(alignment), std::nothrow);
    if (pointer == nullptr) throw OutOfMemory("host memory", bytes, 0, OutOfMemory::unlimited);
    return pointer;
  }

  void deallocate(void* pointer, std::size_t, std::size_t alignment) noexcept {
    ::operator delete(pointer, std::align_val_t(alignment));
  }
};

static_assert(MemoryResource<HostResource>);

}  // namespace ltxmem
