// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>

/// Where tensors get their bytes from.
///
/// A MemoryResource r provides
///   r.allocate(bytes, alignment)             a pointer to bytes of uninitialised memory, or throws OutOfMemory;
///                                            alignment is a power of two; zero bytes give a pointer that is only freed
///   r.deallocate(pointer, bytes, alignment)  the same three values again; does not throw

namespace ltxmem {

template <class R>
concept MemoryResource = requires(R& r, void* pointer, std::size_t bytes, std::size_t alignment) {
  { r.allocate(bytes, alignment) } -> std::same_as<void*>;
  { r.deallocate(pointer, bytes, alignment) }
  noexcept;
};

/// Alignment of every tensor and arena buffer, in bytes: whole cache lines, and what vector and tensor-core loads want.
/// The same on every backend, so that a plan made for one holds on another.
inline constexpr std::size_t buffer_alignment = 256;

/// Bytes that a buffer occupies in an arena: rounded up to buffer_alignment.
constexpr std::size_t aligned_bytes(std::size_t bytes) noexcept {
  return (bytes + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
}

/// Borrowed reference to any MemoryResource; the resource must outlive it and everything allocated through it.
class ResourceRef {
 public:
  template <MemoryResource R>
  requires(!std::same_as<R, ResourceRef>) ResourceRef(R& resource)
  noexcept  // NOLINT(google-explicit-constructor): a reference to its argument, like a span
      : resource_(&resource),
        allocate_([](void* self, std::size_t bytes, std::size_t alignment) {
          return static_cast<R*>(self)->allocate(bytes, alignment);
        }),
        deallocate_([](void* self, void* pointer, std::size_t bytes, std::size_t alignment) noexcept {
          static_cast<R*>(self)->deallocate(pointer, bytes, alignment);
        }) {}

  void* allocate(std::size_t bytes, std::size_t alignment) const { return allocate_(resource_, bytes, alignment); }
  void deallocate(void* pointer, std::size_t bytes, std::size_t alignment) const noexcept {
    deallocate_(resource_, pointer, bytes, alignment);
  }

 private:
  void* resource_;
  void* (*allocate_)(void*, std::size_t, std::size_t);
  void (*deallocate_)(void*, void*, std::size_t, std::size_t) noexcept;
};

static_assert(MemoryResource<ResourceRef>);

}  // namespace ltxmem
