// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/gemm.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/weight_view.hpp"

/// The product behind every convolution on the processor: patches of a channels-last tensor times a panel of weights.
///
/// A patch is [tap, channel], so that neighbouring taps are one run of memory. It is gathered and multiplied in blocks
/// of columns, which stay in a core's cache however many channels there are.
///
/// Numerics  an output is the sum over the blocks of its patch, in order, of one fp32 sum each

namespace ltxmem::cpu::detail {

/// Most columns of a block of patches: row_quantum rows of them in fp32 fill a MiB.
inline constexpr std::int64_t patch_columns = 1024;
/// Most outputs that share a panel, and the fewest that a thread takes of them where positions are few.
inline constexpr std::int64_t panel_outputs = 256;
inline constexpr std::int64_t part_outputs = 64;

/// How the columns of a patch are cut into blocks.
struct PatchBlocks {
  std::int64_t columns;
  std::int64_t width;  ///< of all blocks but the last

  explicit PatchBlocks(std::int64_t patch) : columns(patch), width(patch) {
    if (patch > patch_columns) width = round_up(ceil_div(patch, ceil_div(patch, patch_columns)), 32);
  }

  std::int64_t count() const noexcept { return columns == width ? 1 : ceil_div(columns, width); }
  std::int64_t begin(std::int64_t block) const noexcept { return block * width; }
  std::int64_t size(std::int64_t block) const noexcept { return std::min(width, columns - begin(block)); }
};

/// Weights [outputs, columns of a patch], each block of columns dense; or one block where it lies.
template <class T>
struct PatchPanel {
  T* data;
  std::int64_t outputs;
  PatchBlocks blocks;
  std::int64_t row_stride = 0;  ///< of a single block that is not dense; 0: dense

  TensorView<const T, 2> block(std::int64_t index) const {
    const std::int64_t width = blocks.size(index);
    return {data + outputs * blocks.begin(index), {outputs, width}, {row_stride == 0 ? width : row_stride, 1}};
  }
  /// fn(address, i, n): elements [i, i + n) of columns [begin, begin + count) of an output follow one another there.
  template <class Fn>
  void for_each_run(std::int64_t output, std::int64_t begin, std::int64_t count, Fn&& fn) const {
    for (std::int64_t i = 0; i < count;) {
      const std::int64_t index = (begin + i) / blocks.width;
      const std::int64_t within = (begin + i) - blocks.begin(index);
      const std::int64_t n = std::min(count - i, blocks.size(index) - within);
      fn(data + outputs * blocks.begin(index) + output * blocks.size(index) + within, i, n);
      i += n;
    }
  }
};

/// Cuts a block of scratch into buffers, in the order in which the workspace formulas add them up.
class ScratchCutter {
 public:
  explicit ScratchCutter(void* block) : next_(static_cast<std::byte*>(block)) {}
  template <class T>
  T* take(std::int64_t count) {
    void* buffer = next_;
    next_ += bytes<T>(count);
    return static_cast<T*>(buffer);
  }
  template <class T>
  static std::size_t bytes(std::int64_t count) {
    return aligned_bytes(static_cast<std::size_t>(count) * sizeof(T));
  }

 private:
  std::byte* next_;
};

/// What one thread needs for the outputs of a panel at row_quantum positions.
template <class Gemm, Element T>
struct PatchScratch {
  T* patches;  ///< at least two of them whole: the weights of an output pass through on their way into the panel
  float* sums;
  float* part;
  std::byte* product;

  PatchScratch(void* memory, const PatchBlocks& blocks, std::int64_t outputs) {
    ScratchCutter cutter(memory);
    patches = cutter.take<T>(patch_elements(blocks));
    sums = cutter.take<float>(tile_elements(outputs));
    part = cutter.take<float>(tile_elements(outputs));
    product = cutter.take<std::byte>(0);
  }
  static std::size_t bytes(const PatchBlocks& blocks, std::int64_t outputs) {
    return ScratchCutter::bytes<T>(patch_elements(blocks)) + 2 * ScratchCutter::bytes<float>(tile_elements(outputs)) +
           ScratchCutter::bytes<std::byte>(static_cast<std::int64_t>(Gemm::template scratch_bytes<T>()));
  }

 private:
  static std::int64_t patch_elements(const PatchBlocks& blocks) {
    return std::max(row_quantum * std::min(blocks.columns, patch_columns), 2 * blocks.columns);
  }
  static std::int64_t tile_elements(std::int64_t outputs) { return row_quantum * std::min(outputs, panel_outputs); }
};

/// Source coordinate of a padded one, or -1 for a zero.
inline std::int64_t padded_source(std::int64_t at, std::int64_t extent, Padding padding) {
  if (at >= 0 && at < extent) return at;
  switch (padding) {
    case Padding::zeros: break;
    case Padding::replicate: return at < 0 ? 0 : extent - 1;
    case Padding::reflect: return at < 0 ? -at : 2 * (extent - 1) - at;
  }
  return -1;
}

/// Walks the output positions of a convolution in row-major order.
struct OutputPosition {
  std::int64_t t = 0;
  std::int64_t h = 0;
  std::int64_t w = 0;

  OutputPosition(std::int64_t index, const Extents<4>& extents)
      : t(index / (extents[1] * extents[2])), h(index / extents[2] % extents[1]), w(index % extents[2]) {}
};

/// Most runs of a patch are too short for a call of memcpy.
template <Element T>
void copy_run(const T* from, std::int64_t count, T* to) {
  constexpr std::int64_t step = 32 / sizeof(T);
  std::int64_t i = 0;
  for (; i + step <= count; i += step) std::memcpy(to + i, from + i, 32);
  for (; i < count; ++i) to[i] = from[i];
}

/// Columns [begin, begin + count) of the patches of output positions [first, first + positions), as dense rows.
template <Element T>
void gather_patches(TensorView<const T, 4> x, const ConvolutionGeometry& geometry, const Extents<4>& output,
                    std::int64_t first, std::int64_t positions, std::int64_t begin, std::int64_t count, T* patches) {
  const std::int64_t channels = x.extent(3);
  const std::int64_t line = geometry.kernel[2] * channels;  // one row of the kernel
  const auto source = [&](std::size_t axis, std::int64_t at, std::int64_t tap) {
    return padded_source(at * geometry.stride[axis] - geometry.pad_before[axis] + tap * geometry.dilation[axis],
                         x.extent(axis), geometry.padding[axis]);
  };
  const bool neighbours = geometry.dilation[2] == 1 && x.stride(2) == channels;

  // What a row of the kernel sees of a row of the output lies in one row of the input, or is zeros (null).
  struct Run {
    const T* row;
    std::int64_t within;  // elements of the row of the kernel before it
    std::int64_t size;
  };
  const auto copy_taps = [&](const Run& run, std::int64_t w, T* to) {
    for (std::int64_t i = 0; i < run.size;) {
      const std::int64_t tap = (run.within + i) / channels;
      const std::int64_t channel = (run.within + i) % channels;
      const std::int64_t n = std::min(channels - channel, run.size - i);
      const std::int64_t seen = source(2, w, tap);
      if (seen < 0) {
        std::fill_n(to + i, n, T(0.0F));
      } else {
        copy_run(run.row + seen * x.stride(2) + channel, n, to + i);
      }
      i += n;
    }
  };
  constexpr std::int64_t most_runs = 16;
  Run runs[most_runs];
  for (std::int64_t column = begin; column < begin + count;) {
    T* to = patches + (column - begin);
    std::int64_t next_column = column;
    for (std::int64_t done = 0; done < positions;) {
      const OutputPosition position(first + done, output);
      const std::int64_t row_end = std::min(position.w + positions - done, output[2]);
      done += row_end - position.w;
      std::int64_t run_count = 0;
      for (next_column = column; next_column < begin + count && run_count < most_runs; ++run_count) {
        const std::int64_t kernel_row = next_column / line;
        const std::int64_t within = next_column % line;
        const std::int64_t t = source(0, position.t, kernel_row / geometry.kernel[1]);
        const std::int64_t h = source(1, position.h, kernel_row % geometry.kernel[1]);
        const T* row = t < 0 || h < 0 ? nullptr : x.data() + t * x.stride(0) + h * x.stride(1);
        runs[run_count] = {row, within, std::min(line - within, begin + count - next_column)};
        next_column += runs[run_count].size;
      }
      for (std::int64_t w = position.w; w < row_end; ++w, to += count) {
        const std::int64_t at = w * geometry.stride[2] - geometry.pad_before[2];
        const bool inside = neighbours && at >= 0 && at + geometry.kernel[2] <= x.extent(2);
        T* next = to;
        for (const Run& run : std::span(runs, static_cast<std::size_t>(run_count))) {
          if (run.row == nullptr) {
            std::fill_n(next, run.size, T(0.0F));
          } else if (inside) {
            copy_run(run.row + at * channels + run.within, run.size, next);
          } else {
            copy_taps(run, w, next);
          }
          next += run.size;
        }
      }
    }
    column = next_column;
  }
}

/// y = scale * (patches of x times the panel, transposed) + bias + residual; y and residual as wide as the panel.
template <class Gemm, Element T>
void multiply_patches(ThreadPool& pool, const Gemm& gemm, TensorView<const T, 4> x, const ConvolutionGeometry& geometry,
                      const PatchPanel<const T>& panel, float scale, const WeightVector& bias,
                      TensorView<const T, 4> residual, TensorView<T, 4> y, std::byte* thread_scratch) {
  const PatchBlocks& blocks = panel.blocks;
  const Extents<4> extents = y.extents();
  const std::int64_t positions = extents[0] * extents[1] * extents[2];
  const std::int64_t position_blocks = ceil_div(positions, row_quantum);
  // Each part of the outputs gathers its patches anew; no bit depends on it.
  const std::int64_t most_parts = ceil_div(panel.outputs, part_outputs);
  const std::int64_t parts =
      std::clamp<std::int64_t>(ceil_div(2 * std::int64_t{pool.threads()}, position_blocks), 1, most_parts);
  const std::int64_t part_size = ceil_div(most_parts, parts) * part_outputs;
  const std::size_t thread_bytes = PatchScratch<Gemm, T>::bytes(blocks, panel.outputs);
  pool.parallel_for(position_blocks * parts, [&](std::int64_t item, int thread) {
    const PatchScratch<Gemm, T> own(thread_scratch + static_cast<std::size_t>(thread) * thread_bytes, blocks,
                                    panel.outputs);
    const std::int64_t first = item / parts * row_quantum;
    const std::int64_t rows = std::min(row_quantum, positions - first);
    const std::int64_t begin = item % parts * part_size;
    const std::int64_t width = std::min(part_size, panel.outputs - begin);
    if (width <= 0) return;
    for (std::int64_t index = 0; index < blocks.count(); ++index) {
      const std::int64_t columns = blocks.size(index);
      with_wide_vectors(
          [&] { gather_patches(x, geometry, extents, first, rows, blocks.begin(index), columns, own.patches); });
      const TensorView<const T, 2> patches(own.patches, {rows, columns});
      const TensorView<float, 2> product(index == 0 ? own.sums : own.part, {rows, width});
      gemm.multiply(patches, panel.block(index).rows(begin, width), product, own.product);
      if (index == 0) continue;
      for (std::int64_t i = 0; i < rows * width; ++i) own.sums[i] += own.part[i];
    }
    with_wide_vectors([&] {
      // Few outputs whose positions follow one another are one run: loops pay off on long runs only.
      const bool follow = width == y.extent(3) && y.is_dense() && residual.is_dense();
      const std::int64_t together = follow ? std::max<std::int64_t>(run_length / width, 1) : 1;
      float added[run_length];
      std::fill_n(added, width * together, no_addend);
      if (!bias.empty()) {
        for (std::int64_t n = 0; n < together; ++n) widen(bias, begin, width, added + n * width);
      }
      for (std::int64_t row = 0; row < rows; row += together) {
        const OutputPosition at(first + row, extents);
        const std::int64_t run = std::min(together, rows - row) * width;
        const auto finished = [&](float sum, std::int64_t i) { return sum * scale + added[i]; };
        const float* sums = own.sums + row * width;
        T* to = &y(at.t, at.h, at.w, begin);
        if (residual.empty()) {
          transform_run(sums, run, to, finished);
        } else {
          const T* from = &residual(at.t, at.h, at.w, begin);
          transform_run(sums, run, to,
                        [&](float sum, std::int64_t i) { return finished(sum, i) + static_cast<float>(from[i]); });
        }
      }
    });
  });
}

}  // namespace ltxmem::cpu::detail
