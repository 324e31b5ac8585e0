// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include "ltxmem/core/error.hpp"

namespace ltxmem {

/// A call of the CUDA runtime or of a library on top of it that failed: "cudaStreamCreateWithFlags: error 35
/// (cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version), cuda_stream.hpp:31".
///
/// Work on a device fails after the call that queued it: the call named here is the first that noticed.
class CudaError : public DeviceError {
 public:
  CudaError(const char* call, int code, const std::string& what, const char* file, int line)
      : DeviceError(std::string(call) + ": error " + std::to_string(code) + " (" + what + "), " +
                    std::string(file).substr(std::string(file).rfind('/') + 1) + ":" + std::to_string(line)),
        code_(code) {}

  int code() const noexcept { return code_; }

 private:
  int code_;
};

namespace cuda {

/// Throws CudaError unless a call of the runtime succeeded. The runtime forgets the error, so that the next call is not
/// blamed for it; one that has broken the context stays and comes back with every call.
inline void check(const char* call, cudaError_t status, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (status == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  throw CudaError(call, static_cast<int>(status),
                  std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status), file, line);
}

}  // namespace cuda

}  // namespace ltxmem
