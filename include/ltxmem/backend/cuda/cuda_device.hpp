// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "ltxmem/backend/cuda/cuda_error.hpp"

/// Which devices there are. Kernels need what compute capability 8.0 brought: asynchronous copies and bf16 products.

namespace ltxmem {

inline constexpr int least_cuda_capability = 80;

struct CudaDevice {
  int index = 0;
  std::string name;
  int capability = 0;  ///< major * 10 + minor
  std::size_t memory_bytes = 0;
};

/// Makes a device current in the calling thread for its life.
class CurrentCudaDevice {
 public:
  explicit CurrentCudaDevice(int device) {
    cuda::check("cudaGetDevice", cudaGetDevice(&before_));
    cuda::check("cudaSetDevice", cudaSetDevice(device));
  }
  CurrentCudaDevice(const CurrentCudaDevice&) = delete;
  CurrentCudaDevice& operator=(const CurrentCudaDevice&) = delete;
  ~CurrentCudaDevice() { static_cast<void>(cudaSetDevice(before_)); }

 private:
  int before_ = 0;
};

/// Devices that the driver offers; 0 for every reason why there is none, a missing or too old driver included.
inline int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

/// The device with this number. Throws DeviceError, in one sentence, when there is no driver, no such device, or one
/// that is too old. Needs no device and allocates nothing on one.
inline CudaDevice find_cuda_device(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw DeviceError(std::string("no CUDA device can be used: ") + cudaGetErrorString(status) + " (error " +
                      std::to_string(static_cast<int>(status)) + ")");
  }
  expects<DeviceError>(index >= 0 && index < count, "CUDA device ", index, " does not exist, there are ", count);
  cudaDeviceProp properties{};
  cuda::check("cudaGetDeviceProperties", cudaGetDeviceProperties(&properties, index));
  CudaDevice device{index, properties.name, properties.major * 10 + properties.minor, properties.totalGlobalMem};
  expects<DeviceError>(device.capability >= least_cuda_capability, "CUDA device ", index, " (", device.name,
                       ") has compute capability ", properties.major, ".", properties.minor,
                       ", needed is 8.0 or newer");
  return device;
}

}  // namespace ltxmem
