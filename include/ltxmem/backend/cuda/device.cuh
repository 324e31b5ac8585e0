// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

/// What kernels need of the CUDA language beyond its keywords. Together with ptx.cuh the only file that a kernel's
/// build without a GPU replaces.

#define LTXMEM_DEVICE __device__ __forceinline__

namespace ltxmem::cuda {

/// One load instruction of sizeof(V) bytes, a power of two up to 16; the address is a multiple of it.
template <class V>
LTXMEM_DEVICE V load(const V* from) {
  if constexpr (sizeof(V) == 16) {
    return std::bit_cast<V>(*reinterpret_cast<const uint4*>(from));
  } else if constexpr (sizeof(V) == 8) {
    return std::bit_cast<V>(*reinterpret_cast<const uint2*>(from));
  } else {
    return *from;
  }
}

/// One store instruction; see load.
template <class V>
LTXMEM_DEVICE void store(V* to, const V& value) {
  if constexpr (sizeof(V) == 16) {
    *reinterpret_cast<uint4*>(to) = std::bit_cast<uint4>(value);
  } else if constexpr (sizeof(V) == 8) {
    *reinterpret_cast<uint2*>(to) = std::bit_cast<uint2>(value);
  } else {
    *to = value;
  }
}

/// The dynamic shared memory of the block; the launch gives sizeof(Shared) bytes.
template <class Shared>
LTXMEM_DEVICE Shared& dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char ltxmem_dynamic_shared[];
  return *reinterpret_cast<Shared*>(ltxmem_dynamic_shared);
}

}  // namespace ltxmem::cuda
