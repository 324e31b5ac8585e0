// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "simt/executor.hpp"

/// The language of kernels on the executor: stands in for the library's file of the same name.

// The names are CUDA's.
// NOLINTBEGIN
#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#define LTXMEM_DEVICE inline

namespace simt::device {
template <Extent3 (*index)(), unsigned Extent3::*axis>
struct Axis {
  operator unsigned() const { return index().*axis; }
};
template <Extent3 (*index)()>
struct Index3 {
  Axis<index, &Extent3::x> x;
  Axis<index, &Extent3::y> y;
  Axis<index, &Extent3::z> z;
};
}  // namespace simt::device

inline constexpr simt::device::Index3<&simt::device::thread_index> threadIdx{};
inline constexpr simt::device::Index3<&simt::device::block_index> blockIdx{};
inline constexpr simt::device::Index3<&simt::device::block_extent> blockDim{};
inline constexpr simt::device::Index3<&simt::device::grid_extent> gridDim{};

inline void __syncthreads(simt::Where where = simt::Where::current()) {
  simt::device::barrier(where);
}
inline void __syncwarp(std::uint32_t mask = ~0U, simt::Where where = simt::Where::current()) {
  simt::device::warp_barrier(mask, where);
}

#define SIMT_SHUFFLE(name, kind)                                                                                  \
  template <class V>                                                                                              \
  V name(std::uint32_t mask, V value, int argument, int width = 32, simt::Where where = simt::Where::current()) { \
    V result;                                                                                                     \
    simt::device::shuffle(simt::device::Shuffle::kind, mask, &value, &result, sizeof(V), argument, width, where); \
    return result;                                                                                                \
  }
SIMT_SHUFFLE(__shfl_sync, index)
SIMT_SHUFFLE(__shfl_xor_sync, exclusive_or)
SIMT_SHUFFLE(__shfl_up_sync, up)
SIMT_SHUFFLE(__shfl_down_sync, down)
#undef SIMT_SHUFFLE

inline std::uint32_t __ballot_sync(std::uint32_t mask, bool predicate, simt::Where where = simt::Where::current()) {
  return simt::device::ballot(mask, predicate, where);
}
// NOLINTEND

namespace ltxmem::cuda {

template <class V>
V load(const V* from, simt::Where where = simt::Where::current()) {
  V value;
  simt::device::load(&value, from, sizeof(V), where);
  return value;
}
template <class V>
void store(V* to, const V& value, simt::Where where = simt::Where::current()) {
  simt::device::store(to, &value, sizeof(V), where);
}
template <class Shared>
Shared& dynamic_shared() {
  return *static_cast<Shared*>(simt::device::dynamic_shared(sizeof(Shared), alignof(Shared)));
}

}  // namespace ltxmem::cuda
