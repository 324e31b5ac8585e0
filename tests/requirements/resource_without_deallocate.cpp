// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A reference to a resource is made only from a model of MemoryResource.
// expect: MemoryResource
// expect: r.deallocate(pointer, bytes, alignment)
#include "ltxmem/memory/host_resource.hpp"

ltxmem::ResourceRef accepted(ltxmem::HostResource& resource) {
  return ltxmem::ResourceRef(resource);
}

#ifdef LTXMEM_REFUSE
struct OnlyAllocates {
  void* allocate(std::size_t, std::size_t) { return nullptr; }
};
ltxmem::ResourceRef refused(OnlyAllocates& resource) {
  return ltxmem::ResourceRef(resource);
}
#endif
