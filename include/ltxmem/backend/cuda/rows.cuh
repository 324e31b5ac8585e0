// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/cuda/device.cuh"
#include "ltxmem/backend/cuda/tuning.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/math/activation.hpp"

/// Small things that kernels share: arguments as plain pointers, sums over warps and blocks.

namespace ltxmem::cuda {

/// width neighbours, moved by one instruction.
template <class T, int width>
struct alignas(sizeof(T) * width) Group {
  T at[width];
};

/// Rows of a matrix: contiguous columns, a stride in elements between rows.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;

  LTXMEM_DEVICE T* row(std::int64_t index) const { return data + index * stride; }
};

/// TokenRows with plain pointers; no data means absent.
struct DeviceTokenRows {
  const float* data = nullptr;
  std::int64_t stride = 0;
  const std::int32_t* index = nullptr;

  LTXMEM_DEVICE const float* row(std::int64_t token) const {
    return data + (index == nullptr ? 0 : static_cast<std::int64_t>(load(index + token))) * stride;
  }
};

/// WeightVector with a plain pointer; no data means absent.
struct DeviceWeight {
  const void* data = nullptr;
  DType dtype = DType::f32;

  LTXMEM_DEVICE float at(std::int64_t i) const {
    switch (dtype) {
      case DType::bf16: return static_cast<float>(load(static_cast<const bfloat16*>(data) + i));
      case DType::f16: return static_cast<float>(load(static_cast<const half*>(data) + i));
      case DType::f8_e4m3: return static_cast<float>(load(static_cast<const float8_e4m3*>(data) + i));
      default: return load(static_cast<const float*>(data) + i);
    }
  }
};

/// The sum over the warp, the same bits in every lane.
LTXMEM_DEVICE float warp_sum(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, distance);
  }
  return value;
}

LTXMEM_DEVICE float warp_maximum(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(0xffffffffU, value, distance);
    value = value < other ? other : value;
  }
  return value;
}

/// The sum over a block of row_threads, the same bits in every thread. parts is used by this sum alone.
LTXMEM_DEVICE float block_sum(float value, float (&parts)[row_threads / 32]) {
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) store(&parts[threadIdx.x / 32], value);
  __syncthreads();
  float total = 0.0F;
#pragma unroll
  for (int warp = 0; warp < row_threads / 32; ++warp) total += load(&parts[warp]);
  return total;
}

}  // namespace ltxmem::cuda
