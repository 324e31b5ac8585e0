// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "ltxmem/backend/cuda/cuda_resource.hpp"

namespace ltxmem {

/// Memory of another device than the one that is current here, for rows that visit that one through the slots of a
/// HostRowStore: nothing but copies of a backend reaches it, neither kernels nor the host.
///
/// Copies go from device to device where both can, and through memory of the driver's on the host where they cannot;
/// is_direct() says which. Taking and giving back may wait for both devices; zero bytes give null. Nothing under way
/// may use a buffer that goes back.
///
/// Throws    DeviceError for a device that is not there, too old, or the current one; OutOfMemory naming the device;
///           CudaError
class PeerResource {
 public:
  explicit PeerResource(int device) : device_(find_cuda_device(device).index) {
    int here = 0;
    cuda::check("cudaGetDevice", cudaGetDevice(&here));
    expects<DeviceError>(here != device_, "memory of CUDA device ", device_, ": the device that computes, not another");
    int reaches = 0;
    cuda::check("cudaDeviceCanAccessPeer", cudaDeviceCanAccessPeer(&reaches, here, device_));
    if (reaches == 0) return;
    const cudaError_t status = cudaDeviceEnablePeerAccess(device_, 0);
    if (status != cudaErrorPeerAccessAlreadyEnabled) cuda::check("cudaDeviceEnablePeerAccess", status);
    static_cast<void>(cudaGetLastError());
    is_direct_ = true;
  }

  int device() const noexcept { return device_; }
  bool is_direct() const noexcept { return is_direct_; }

  void* allocate(std::size_t bytes, std::size_t alignment) {
    const std::string what = "memory of CUDA device " + std::to_string(device_);
    expects<DeviceError>(alignment <= buffer_alignment, what, ": alignment ", alignment, ", at most ",
                         buffer_alignment);
    void* pointer = nullptr;
    if (bytes == 0) return pointer;
    const CurrentCudaDevice scope(device_);
    cuda::check_allocation("cudaMalloc", cudaMalloc(&pointer, bytes), what.c_str(), bytes);
    return pointer;
  }
  void deallocate(void* pointer, std::size_t, std::size_t) noexcept {
    if (pointer != nullptr) static_cast<void>(cudaFree(pointer));
  }

 private:
  int device_;
  bool is_direct_ = false;
};

static_assert(MemoryResource<PeerResource>);

}  // namespace ltxmem
