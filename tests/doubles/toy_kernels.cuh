// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/device.cuh"

/// Kernels of one block for the tests of the doubles themselves: thread i works on element i.

namespace doubles::toys {

using ltxmem::cuda::load;
using ltxmem::cuda::store;

template <int = 0>
__global__ void add(const float* in, float value, float* out) {
  store(out + threadIdx.x, load(in + threadIdx.x) + value);
}

struct Block {
  float at[40000];
};
/// Needs as much shared memory as a launch gives only when asked.
template <int = 0>
__global__ void through_shared(const float* in, float* out) {
  auto& block = ltxmem::cuda::dynamic_shared<Block>();
  store(&block.at[threadIdx.x], load(in + threadIdx.x));
  __syncthreads();
  store(out + threadIdx.x, load(&block.at[blockDim.x - 1 - threadIdx.x]));
}

template <int = 0>
__global__ void not_provided() {}

}  // namespace doubles::toys
