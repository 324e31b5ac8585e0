// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Giving memory back runs in destructors, so a resource must promise that it does not throw.
// expect: MemoryResource
// expect: r.deallocate(pointer, bytes, alignment)
// expect: noexcept
#include "ltxmem/core/resource.hpp"

struct Promises {
  void* allocate(std::size_t, std::size_t) { return nullptr; }
  void deallocate(void*, std::size_t, std::size_t) noexcept {}
};
ltxmem::ResourceRef accepted(Promises& resource) {
  return ltxmem::ResourceRef(resource);
}

#ifdef LTXMEM_REFUSE
struct MayThrow {
  void* allocate(std::size_t, std::size_t) { return nullptr; }
  void deallocate(void*, std::size_t, std::size_t) {}
};
ltxmem::ResourceRef refused(MayThrow& resource) {
  return ltxmem::ResourceRef(resource);
}
#endif
