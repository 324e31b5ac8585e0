// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Every kernel that the backend launches, once.

#include "ltxmem/backend/cuda/kernels/elementwise.cuh"
#include "ltxmem/backend/cuda/kernels/flash_attention.cuh"
#include "ltxmem/backend/cuda/kernels/norm.cuh"

namespace ltxmem::cuda {

// NOLINTBEGIN
#define FLASH(T, D, K) \
  template __global__ void flash_attention<T, D, K>(const __grid_constant__ AttentionKernelArguments<T>);
FLASH(bfloat16, 64, 64)
FLASH(bfloat16, 128, 64)
FLASH(bfloat16, 256, 32)
FLASH(half, 64, 64)
FLASH(half, 128, 64)
FLASH(half, 256, 32)

template __global__ void reset_states<0>(const __grid_constant__ DeviceSoftmaxState, std::int64_t, std::int64_t,
                                         std::int64_t);
template __global__ void merge_states<0>(const __grid_constant__ DeviceSoftmaxState,
                                         const __grid_constant__ DeviceSoftmaxState, std::int64_t, std::int64_t,
                                         std::int64_t);

#define ROWS(T, W)                                                                                                     \
  template __global__ void norm_rows<T, W>(const __grid_constant__ NormKernelArguments<T>);                            \
  template __global__ void gated_residual<T, W>(Rows<const T>, Rows<const T>, DeviceTokenRows, Rows<T>, std::int64_t); \
  template __global__ void activate_rows<T, W>(Rows<const T>, Activation, Rows<T>, std::int64_t);
#define ELEMENT(T, W)                                                                                                 \
  ROWS(T, 1)                                                                                                          \
  ROWS(T, W)                                                                                                          \
  template __global__ void head_norm_rows<T>(const __grid_constant__ HeadNormKernelArguments<T>);                     \
  template __global__ void plain_attention<T>(const __grid_constant__ AttentionKernelArguments<T>);                   \
  template __global__ void finalize_states<T>(const __grid_constant__ DeviceSoftmaxState, Rows<const float>, Rows<T>, \
                                              Rows<float>, std::int64_t, std::int64_t, std::int64_t);
ELEMENT(float, 4)
ELEMENT(bfloat16, 8)
ELEMENT(half, 8)

#define CAST(From, To)                                                                       \
  template __global__ void cast_rows<From, To, 1>(Rows<const From>, Rows<To>, std::int64_t); \
  template __global__ void cast_rows<From, To, 4>(Rows<const From>, Rows<To>, std::int64_t);
CAST(float, bfloat16)
CAST(float, half)
CAST(bfloat16, float)
CAST(half, float)
// NOLINTEND

}  // namespace ltxmem::cuda
