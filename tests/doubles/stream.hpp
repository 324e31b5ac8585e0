// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>
#include <vector>

#include "doubles/control.hpp"
#include "support/catch.hpp"

/// What the tests of the doubles share. They call the libraries directly: the library's own classes are under test elsewhere.

namespace doubles {

struct Stream {
  cudaStream_t native = nullptr;

  Stream() { REQUIRE(cudaStreamCreateWithFlags(&native, cudaStreamNonBlocking) == cudaSuccess); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(native); }

  cudaError_t synchronize() const { return cudaStreamSynchronize(native); }

  template <class T>
  T* allocate(std::size_t count) const {
    void* memory = nullptr;
    REQUIRE(cudaMallocAsync(&memory, count * sizeof(T), native) == cudaSuccess);
    return static_cast<T*>(memory);
  }
};

inline bool found(const std::string& text) {
  const std::vector<std::string> all = findings();
  return std::any_of(all.begin(), all.end(),
                     [&](const std::string& finding) { return finding.find(text) != std::string::npos; });
}

}  // namespace doubles
