// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ltxmem/backend/cuda/cuda_error.hpp"

namespace ltxmem::cuda {

/// Blocks of a launch. Extents come from 64-bit shapes.
struct Grid {
  std::int64_t x = 1;
  std::int64_t y = 1;
};

inline constexpr std::int64_t grid_x_limit = (std::int64_t{1} << 31) - 1;
inline constexpr std::int64_t grid_y_limit = 65535;

/// Queues a kernel: the one place where kernels are started. Nothing is queued for an empty grid.
///
/// Throws    ShapeError when the grid is larger than a launch can be, CudaError
template <class... P>
void launch(const char* name, void (*kernel)(P...), Grid grid, int threads, std::size_t shared_bytes,
            cudaStream_t stream, const std::type_identity_t<P>&... arguments) {
  constexpr std::size_t shared_without_asking = 48 * 1024;
  if (grid.x == 0 || grid.y == 0) return;
  expects(grid.x <= grid_x_limit && grid.y <= grid_y_limit, name, ": grid of ", grid.x, " x ", grid.y, ", at most ",
          grid_x_limit, " x ", grid_y_limit);
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > shared_without_asking) {
    check("cudaFuncSetAttribute",
          cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)));
  }
  std::array<void*, sizeof...(P)> pointers{const_cast<void*>(static_cast<const void*>(&arguments))...};
  check(name, cudaLaunchKernel(function, dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y)),
                               dim3(static_cast<unsigned>(threads)), pointers.data(), shared_bytes, stream));
}

}  // namespace ltxmem::cuda
