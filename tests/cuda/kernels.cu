// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Every kernel that the backend launches, once.

#include "ltxmem/backend/cuda/kernels/convolution.cuh"
#include "ltxmem/backend/cuda/kernels/flash_attention.cuh"
#include "ltxmem/backend/cuda/kernels/linear.cuh"
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

template __global__ void product_factors<0>(float, const float*, float, float*);

#define ELEMENT(T, W)                                                                                                 \
  template __global__ void norm_rows<T, 1>(const __grid_constant__ NormKernelArguments<T>);                           \
  template __global__ void norm_rows<T, W>(const __grid_constant__ NormKernelArguments<T>);                           \
  template __global__ void head_norm_rows<T>(const __grid_constant__ HeadNormKernelArguments<T>);                     \
  template __global__ void head_norm_factors<T>(Rows<const T>, std::int64_t, float, float*, std::int64_t);            \
  template __global__ void finish_linear<T, 1>(const __grid_constant__ FinishKernelArguments<T>);                     \
  template __global__ void finish_linear<T, 4>(const __grid_constant__ FinishKernelArguments<T>);                     \
  template __global__ void convolution<T>(const __grid_constant__ ConvolutionKernelArguments<ConvolutionPlaces<T>>);  \
  template __global__ void convolution<T>(const __grid_constant__ ConvolutionKernelArguments<TransposedPlaces<T>>);   \
  template __global__ void plain_attention<T>(const __grid_constant__ AttentionKernelArguments<T>);                   \
  template __global__ void finalize_states<T>(const __grid_constant__ DeviceSoftmaxState, Rows<const float>, Rows<T>, \
                                              Rows<float>, std::int64_t, std::int64_t, std::int64_t);
ELEMENT(float, 4)
ELEMENT(bfloat16, 8)
ELEMENT(half, 8)

#define CAST(From, To)                                                                       \
  template __global__ void cast_rows<From, To, 1>(Rows<const From>, Rows<To>, std::int64_t); \
  template __global__ void cast_rows<From, To, 4>(Rows<const From>, Rows<To>, std::int64_t);
#define CASTS_TO(To) \
  CAST(float, To)    \
  CAST(bfloat16, To) \
  CAST(half, To)     \
  CAST(float8_e4m3, To)
CASTS_TO(float)
CASTS_TO(bfloat16)
CASTS_TO(half)
// NOLINTEND

}  // namespace ltxmem::cuda
