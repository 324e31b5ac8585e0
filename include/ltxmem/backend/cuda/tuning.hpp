// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Tile sizes of the kernels for each generation of devices: plain constants, so that a plan can know them.

namespace ltxmem::cuda {

/// Bytes of shared memory that one block may use, by compute capability (major * 10 + minor).
///
/// Source    CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability"
constexpr std::int64_t shared_memory_limit(int capability) {
  switch (capability) {
    case 80: return 163 * 1024;
    case 86:
    case 89:
    case 120: return 99 * 1024;
    case 90:
    case 100: return 227 * 1024;
    default: return 48 * 1024;
  }
}

/// Query rows of one block: four warps of the 16 rows of an mma tile.
inline constexpr int flash_query_rows = 64;
inline constexpr int flash_threads = 128;

/// Queries, and keys and values twice: one tile is used while the next one arrives.
constexpr std::int64_t flash_shared_bytes(int head_dim, int key_rows) {
  return 2L * head_dim * (flash_query_rows + 4L * key_rows);
}

/// Keys of one tile. Both sizes divide key_quantum. Heads of 256 take 32: with 64 their scores no longer fit beside the
/// accumulator in the 255 registers of a thread.
constexpr int flash_key_rows(int head_dim) {
  return head_dim > 128 ? 32 : 64;
}

static_assert(flash_shared_bytes(256, flash_key_rows(256)) <= shared_memory_limit(86));
static_assert(flash_shared_bytes(128, flash_key_rows(128)) <= shared_memory_limit(86));

/// The kernel for any head dim: one query row for each warp.
inline constexpr int plain_query_rows = 8;
inline constexpr int plain_key_rows = 32;
inline constexpr int plain_threads = 32 * plain_query_rows;
inline constexpr int plain_head_limit = 256;

/// Kernels over rows and elements.
inline constexpr int row_threads = 256;

/// Convolutions: positions and outputs of a block's tile, channels of a step.
inline constexpr int convolution_tile = 64;
inline constexpr int convolution_channels = 16;
inline constexpr int convolution_threads = 256;

/// The same on the matrix units, where a step is 32 of the depth, taps by channels. Two blocks of eight warps share a
/// multiprocessor on every device.
inline constexpr int matrix_convolution_tile = 128;  ///< positions, and outputs at most
inline constexpr int matrix_convolution_depth = 32;
inline constexpr int matrix_convolution_stages = 3;
inline constexpr int matrix_convolution_threads = 256;
inline constexpr int matrix_convolution_warp_outputs = 32;
/// Outputs of a tile: a narrow one where the rest of a wide one would be thrown away.
constexpr int matrix_convolution_outputs(std::int64_t outputs) {
  return outputs <= matrix_convolution_tile / 2 ? matrix_convolution_tile / 2 : matrix_convolution_tile;
}
constexpr std::size_t matrix_convolution_shared_bytes(int tile_outputs) {
  return std::size_t{2} * matrix_convolution_stages * matrix_convolution_depth *
         static_cast<std::size_t>(matrix_convolution_tile + tile_outputs);
}
static_assert(2 * (matrix_convolution_shared_bytes(matrix_convolution_tile) + 1024) <= 100 * 1024,
              "two blocks, and what the system keeps of each");
/// Most bytes of weights arranged for it at a time, as long as one tile of outputs takes no more.
inline constexpr std::int64_t convolution_panel_bytes = std::int64_t{32} << 20;

/// Products: what cuBLASLt may use beside its operands, and the tile of fp32 sums that an epilogue of ours finishes.
inline constexpr std::size_t product_workspace_bytes = std::size_t{4} << 20;
inline constexpr std::int64_t linear_rows = 1024;
inline constexpr std::int64_t linear_columns = 4096;
/// Most bytes of weights expanded to the type of the activations, as long as 64 outputs take no more.
inline constexpr std::int64_t linear_panel_bytes = std::int64_t{32} << 20;
/// Tokens for which the algorithm of a product is chosen; it then serves every number of them, so that cutting a
/// sequence changes no bit.
inline constexpr std::int64_t linear_tokens = 4096;

}  // namespace ltxmem::cuda
