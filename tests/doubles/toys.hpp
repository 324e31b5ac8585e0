// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

/// Launches of the toy kernels, compiled by nvcc; each returns what the launch says.

namespace doubles::toys {

cudaError_t add(const float* in, float value, float* out, dim3 block, cudaStream_t stream, dim3 grid = 1);
cudaError_t allow_shared(std::size_t bytes);
cudaError_t through_shared(const float* in, float* out, unsigned threads, std::size_t shared_bytes, cudaStream_t stream);
cudaError_t not_provided(cudaStream_t stream);

}  // namespace doubles::toys
