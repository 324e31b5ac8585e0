// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "ltxmem/backend/cuda/cuda_error.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/stream.hpp"

namespace ltxmem {

namespace cuda {

/// Throws OutOfMemory, with what the current device has, or CudaError.
inline void check_allocation(const char* call, cudaError_t status, const char* what, std::size_t bytes) {
  if (status != cudaErrorMemoryAllocation) {
    check(call, status);
    return;
  }
  static_cast<void>(cudaGetLastError());
  std::size_t free = 0;
  std::size_t total = 0;
  check("cudaMemGetInfo", cudaMemGetInfo(&free, &total));
  throw OutOfMemory(what, bytes, total - free, total);
}

}  // namespace cuda

/// Memory of the current device, given and taken back in the order of a stream: work queued there before a buffer goes
/// back may still use it. Other streams must be ordered by events. Zero bytes give null.
///
/// Throws    OutOfMemory with the device's use and size, CudaError
class CudaResource {
 public:
  explicit CudaResource(StreamRef stream) noexcept : stream_(static_cast<cudaStream_t>(stream.native)) {}

  void* allocate(std::size_t bytes, std::size_t alignment) {
    expects<DeviceError>(alignment <= buffer_alignment, "device memory: alignment ", alignment, ", at most ",
                         buffer_alignment);
    void* pointer = nullptr;
    if (bytes > 0) {
      cuda::check_allocation("cudaMallocAsync", cudaMallocAsync(&pointer, bytes, stream_), "device memory", bytes);
    }
    return pointer;
  }
  void deallocate(void* pointer, std::size_t, std::size_t) noexcept {
    if (pointer != nullptr) static_cast<void>(cudaFreeAsync(pointer, stream_));
  }

 private:
  cudaStream_t stream_;
};

/// Page-locked host memory, which copy engines reach directly. Taking and giving back may wait for the device; zero
/// bytes give null. Nothing under way may use a buffer that goes back.
///
/// Throws    OutOfMemory, CudaError
class PinnedResource {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) {
    expects<DeviceError>(alignment <= buffer_alignment, "pinned memory: alignment ", alignment, ", at most ",
                         buffer_alignment);
    void* pointer = nullptr;
    if (bytes > 0) cuda::check_allocation("cudaMallocHost", cudaMallocHost(&pointer, bytes), "pinned memory", bytes);
    return pointer;
  }
  void deallocate(void* pointer, std::size_t, std::size_t) noexcept {
    if (pointer != nullptr) static_cast<void>(cudaFreeHost(pointer));
  }
};

static_assert(MemoryResource<CudaResource> && MemoryResource<PinnedResource>);

}  // namespace ltxmem
