// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/convolution.cuh"
#include "ltxmem/backend/cuda/ptx.cuh"

namespace ltxmem::cuda {

/// Weights of outputs [begin, end), [end - begin, taps, channels]: the depth of the product lies in one row.
template <class T>
struct WeightPanel {
  T* rows = nullptr;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Writes a panel: a thread takes all taps of one channel of one output. They are neighbours where they are stored, so
/// that a warp's loads fall into the same sectors tap after tap; its stores fill sectors.
///
/// Shapes    grid ceil((end - begin) channels / row_threads), block row_threads
/// Memory    loads every weight of the panel once in its own type and stores it once in T
/// Numerics  rounded to T, exact for T and for float8; a scale is left to the convolution
template <Element T, class Places>
__global__ void __launch_bounds__(row_threads)
    arrange_weights(const __grid_constant__ ConvolutionKernelArguments<Places> a, const WeightPanel<T> panel) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * row_threads + threadIdx.x;
  const std::int64_t output = panel.begin + i / a.channels;
  const std::int64_t channel = i % a.channels;
  if (output >= panel.end) return;
  T* to = panel.rows + (output - panel.begin) * a.taps * a.channels + channel;
  for (int tap = 0; tap < a.taps; ++tap) {
    store(to + tap * a.channels, static_cast<T>(a.weight.at(a.places.weight(output, channel, tap))));
  }
}

/// Steps of both tiles on their way and in use; afterwards, 16 rows of sums of each warp, and where rows of y and of
/// the residual are. Rows of sums are 8 longer than a warp's tile, so that four of them lie in different banks.
template <class T, int tile_outputs>
union MatrixConvolutionShared {
  struct {
    alignas(128) T patches[matrix_convolution_stages][matrix_convolution_tile * matrix_convolution_depth];
    alignas(128) T weights[matrix_convolution_stages][tile_outputs * matrix_convolution_depth];
  } steps;
  struct {
    float sums[matrix_convolution_threads / 32][16][matrix_convolution_warp_outputs + 8];
    T* target[matrix_convolution_tile];
    const T* added[matrix_convolution_tile];
  } rows;
};

/// Place of a 16-byte piece of a row of a step: two rows fill the banks once, and pieces change places by the number of
/// that pair, so that the eight rows that ldmatrix reads together lie in different banks.
LTXMEM_DEVICE int matrix_convolution_place(int row, int piece) {
  return row * matrix_convolution_depth + ((piece ^ (row / 2 % 4)) * 8);
}

/// The same on the matrix units: a block computes a tile of 128 positions by 128 outputs, a warp 64 by 32 of them; or
/// by 64 outputs, a warp 32 by 32. The depth of the product, channels of the first tap, then of the next one, goes by
/// in steps of 32, two of them on their way while one is used; a 16-byte piece lies within one tap and is copied from
/// where that tap looks, or is zeros.
///
/// Shapes    bf16 or f16; channels a multiple of 8, rows of x at multiples of 16 bytes, rows of y and of the residual
///           anywhere; grid ceil(positions / 128) ceil((end - begin) / tile_outputs), outputs fastest, so that
///           neighbours read the same patches; block matrix_convolution_threads
/// Memory    loads, for each block, 2 channels for each tap of a position that does not see zeros, 2 taps channels for
///           each output, its bias for each warp that has it, 256 / tile_outputs, and 4 for each thread with a scale;
///           the residual once; stores 2 bytes for each output. Shared sizeof(MatrixConvolutionShared), 49,152 or
///           36,864
/// Cost      an mma of 16 x 8 x 16 for every 16 positions, 8 outputs and 16 of the depth of whole tiles and steps
/// Numerics  fp32 sums over blocks of 16 of the depth, in its order: the bits of an output follow from its patch and
///           weights alone, wherever tiles and groups of outputs begin; one rounding to T
template <class T, class Places, int tile_outputs>
requires(std::same_as<T, bfloat16> ||
         std::same_as<T, half>) __global__ void __launch_bounds__(matrix_convolution_threads, 2)
    matrix_convolution(const __grid_constant__ ConvolutionKernelArguments<Places> a, const WeightPanel<const T> panel) {
  constexpr int tile = matrix_convolution_tile;
  constexpr int pieces = matrix_convolution_depth / 8;
  constexpr int loaded_rows = matrix_convolution_threads / pieces;  // by all threads at once
  constexpr int each = tile / loaded_rows;
  constexpr int each_weight = tile_outputs / loaded_rows;
  constexpr int warps_across = tile_outputs / matrix_convolution_warp_outputs;
  constexpr int warp_positions = tile * warps_across / (matrix_convolution_threads / 32);
  constexpr int bands = warp_positions / 16;
  constexpr int columns = matrix_convolution_warp_outputs / 16;
  static_assert(matrix_convolution_depth == 32,
                "matrix convolution: rows of steps are swizzled as half a set of banks");
  static_assert(matrix_convolution_stages == 3, "matrix convolution: waits leave one step on its way");
  static_assert(matrix_convolution_warp_outputs == 32, "matrix convolution: a lane finishes one output of each row");
  static_assert(sizeof(MatrixConvolutionShared<T, tile_outputs>) == matrix_convolution_shared_bytes(tile_outputs));
  auto& shared = dynamic_shared<MatrixConvolutionShared<T, tile_outputs>>();
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp_row = warp / warps_across * warp_positions;
  const int warp_column = warp % warps_across * matrix_convolution_warp_outputs;
  const std::int64_t tiles_across = (panel.end - panel.begin + tile_outputs - 1) / tile_outputs;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) / tiles_across * tile;
  const std::int64_t first_output = panel.begin + static_cast<std::int64_t>(blockIdx.x) % tiles_across * tile_outputs;
  const std::int64_t depth = a.taps * a.channels;

  // Loading, a thread takes the same piece of every loaded_rows-th row of both tiles: `channel` of `tap`.
  const int row = static_cast<int>(threadIdx.x) / pieces;
  const int piece = static_cast<int>(threadIdx.x) % pieces;
  int tap = static_cast<int>(piece * 8 / a.channels);
  std::int64_t channel = piece * 8 % a.channels;
  typename Places::Position position[each];
  const T* patch[each];  // of this tap; null where it sees zeros
  const T* weights = panel.rows + (first_output - panel.begin + row) * depth + piece * 8;
  const auto look = [&] {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const bool present = tap < a.taps && first + row + i * loaded_rows < a.positions;
      patch[i] = present ? a.places.source(position[i], tap) : nullptr;
    }
  };
  const auto fetch = [&](int stage) {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      const int to = matrix_convolution_place(row + i * loaded_rows, piece);
      const bool seen = patch[i] != nullptr;
      cp_async_16(shared.steps.patches[stage] + to, seen ? patch[i] + channel : panel.rows, seen);
    }
#pragma unroll
    for (int i = 0; i < each_weight; ++i) {
      const int to = matrix_convolution_place(row + i * loaded_rows, piece);
      const bool present = tap < a.taps && first_output + row + i * loaded_rows < panel.end;
      cp_async_16(shared.steps.weights[stage] + to, present ? weights + i * loaded_rows * depth : panel.rows, present);
    }
    weights += matrix_convolution_depth;
    const int before = tap;
    for (channel += matrix_convolution_depth; channel >= a.channels; channel -= a.channels) ++tap;
    if (tap != before) look();
  };
#pragma unroll
  for (int i = 0; i < each; ++i) position[i] = a.places.position(first + row + i * loaded_rows);
  look();
  fetch(0);
  cp_async_commit();
  fetch(1);
  cp_async_commit();

  float sums[bands][2 * columns][4] = {};
  const int steps = static_cast<int>((depth + matrix_convolution_depth - 1) / matrix_convolution_depth);
  for (int step = 0; step < steps; ++step) {
    // This step has arrived for all threads, and all have finished with the stage that is filled next. What is fetched
    // beyond the last step is zeros, and reads nothing.
    cp_async_wait<1>();
    __syncthreads();
    fetch((step + 2) % matrix_convolution_stages);
    cp_async_commit();
    const T* patch_step = shared.steps.patches[step % matrix_convolution_stages];
    const T* weight_step = shared.steps.weights[step % matrix_convolution_stages];
#pragma unroll
    for (int k = 0; k < matrix_convolution_depth / 16; ++k) {
      std::uint32_t p[bands][4];
#pragma unroll
      for (int m = 0; m < bands; ++m) {
        ldmatrix_x4(p[m], patch_step + matrix_convolution_place(warp_row + m * 16 + lane % 16, k * 2 + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < columns; ++n) {
        std::uint32_t w[4];
        const int output = warp_column + n * 16 + lane / 16 * 8 + lane % 8;
        ldmatrix_x4(w, weight_step + matrix_convolution_place(output, k * 2 + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < bands; ++m) {
          mma_m16n8k16<T>(sums[m][2 * n], p[m], w[0], w[1]);
          mma_m16n8k16<T>(sums[m][2 * n + 1], p[m], w[2], w[3]);
        }
      }
    }
  }

  // Lanes hold pairs of outputs of eight rows. Through shared memory they come to hold one output each, of one row
  // after another, which is contiguous in y and in the residual.
  cp_async_wait<0>();
  __syncthreads();
  if (threadIdx.x < tile) {
    const std::int64_t index = first + threadIdx.x;
    const bool present = index < a.positions;
    const typename Places::Position at = a.places.position(index);
    store(&shared.rows.target[threadIdx.x], present ? a.places.target(at) : nullptr);
    store(&shared.rows.added[threadIdx.x], present ? a.places.added(at) : nullptr);
  }
  __syncthreads();
  using Pair = Group<float, 2>;
  const std::int64_t output = first_output + warp_column + lane;
  const bool present = output < panel.end;
  const float scale = a.scale == nullptr ? 1.0F : load(a.scale);
  const float bias = present && a.bias.data != nullptr ? a.bias.at(output) : 0.0F;
#pragma unroll
  for (int m = 0; m < bands; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < 2 * columns; ++n) {
        store(reinterpret_cast<Pair*>(&shared.rows.sums[warp][lane / 4 + 8 * h][n * 8 + lane % 4 * 2]),
              Pair{{sums[m][n][2 * h], sums[m][n][2 * h + 1]}});
      }
    }
    __syncwarp();
    for (int r = 0; r < 16; ++r) {
      T* to = load(&shared.rows.target[warp_row + m * 16 + r]);
      const T* residual = load(&shared.rows.added[warp_row + m * 16 + r]);
      if (to != nullptr && present) {
        float value = load(&shared.rows.sums[warp][r][lane]) * scale + bias;
        if (residual != nullptr) value += static_cast<float>(load(residual + output));
        store(to + output, static_cast<T>(value));
      }
    }
    __syncwarp();
  }
}

}  // namespace ltxmem::cuda
