// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/gemm.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/cpu/weight_panel.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

/// Convolutions on the processor as products: the patches under the kernel at row_quantum output positions are gathered
/// into a matrix, which is multiplied with the weights where they lie (implicit GEMM).
///
/// Memory    per thread one patch matrix [row_quantum, in * taps] of T, one tile of fp32 and the product's scratch;
///           shared one panel of weights [gemm_columns, in * taps] of T where they are not used in place: for weights
///           of another type, misaligned or with gaps (needs_panel), and for transposed convolutions
/// Numerics  every output is one fp32 sum over its patch; scale, bias and residual are applied in fp32; one rounding to
///           T. The same bits for every thread count

namespace ltxmem::cpu {

namespace detail {

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
  void advance(const Extents<4>& extents) {
    if (++w < extents[2]) return;
    w = 0;
    if (++h < extents[1]) return;
    h = 0;
    ++t;
  }
};

/// Patches of output positions [first, first + count) into rows of C * taps elements, channel slow, tap fast.
/// taps_at is scratch for one pointer per tap; zeros are C of them.
template <Element T>
void gather_patches(TensorView<const T, 4> x, const ConvolutionGeometry& geometry, const Extents<4>& output,
                    std::int64_t first, std::int64_t count, const T* zeros, const T** taps_at, T* patches) {
  const std::int64_t channels = x.extent(3);
  const std::int64_t taps = geometry.taps();
  OutputPosition position(first, output);
  for (std::int64_t row = 0; row < count; ++row, position.advance(output)) {
    const auto source = [&](std::size_t axis, std::int64_t at, std::int64_t tap) {
      return padded_source(at * geometry.stride[axis] - geometry.pad_before[axis] + tap * geometry.dilation[axis],
                           x.extent(axis), geometry.padding[axis]);
    };
    const T** tap_at = taps_at;
    for (std::int64_t i = 0; i < geometry.kernel[0]; ++i) {
      const std::int64_t t = source(0, position.t, i);
      for (std::int64_t j = 0; j < geometry.kernel[1]; ++j) {
        const std::int64_t h = source(1, position.h, j);
        for (std::int64_t k = 0; k < geometry.kernel[2]; ++k) {
          const std::int64_t w = source(2, position.w, k);
          const bool inside = t >= 0 && h >= 0 && w >= 0;
          *tap_at++ = inside ? x.data() + t * x.stride(0) + h * x.stride(1) + w * x.stride(2) : zeros;
        }
      }
    }
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t tap = 0; tap < taps; ++tap) *patches++ = taps_at[tap][channel];
    }
  }
}

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

/// What one thread needs to multiply row_quantum patches with up to gemm_columns rows of weights.
template <class Gemm, Element T>
struct PatchProduct {
  T* patches;
  float* tile;
  std::byte* scratch;

  PatchProduct(ScratchCutter& cutter, std::int64_t inner, std::int64_t outputs)
      : patches(cutter.take<T>(row_quantum * inner)),
        tile(cutter.take<float>(row_quantum * std::min(outputs, gemm_columns))),
        scratch(cutter.take<std::byte>(static_cast<std::int64_t>(Gemm::template scratch_bytes<T>()))) {}

  static std::size_t bytes(std::int64_t inner, std::int64_t outputs) {
    return ScratchCutter::bytes<T>(row_quantum * inner) +
           ScratchCutter::bytes<float>(row_quantum * std::min(outputs, gemm_columns)) +
           ScratchCutter::bytes<std::byte>(static_cast<std::int64_t>(Gemm::template scratch_bytes<T>()));
  }

  /// tile = the first count patches times the rows of the weights, transposed.
  TensorView<const float, 2> multiply(const Gemm& gemm, std::int64_t count, TensorView<const T, 2> weights) const {
    const TensorView<float, 2> product(tile, {count, weights.extent(0)});
    gemm.multiply(TensorView<const T, 2>(patches, {count, weights.extent(1)}), weights, product, scratch);
    return product;
  }
};

/// The part of an output row that one product gives: scale and bias, then the residual, then one rounding.
struct ConvolutionEpilogue {
  float scale;
  bool has_bias;
  float bias[gemm_columns];

  ConvolutionEpilogue(const WeightMatrix& weight, const WeightVector& all, std::int64_t begin, std::int64_t count)
      : scale(weight.scale == nullptr ? 1.0F : *weight.scale), has_bias(!all.empty()) {
    if (has_bias) widen(all, begin, count, bias);
  }

  template <Element T>
  void operator()(const float* sums, std::int64_t count, const T* residual, T* y) const {
    float values[gemm_columns];
    for (std::int64_t i = 0; i < count; ++i) values[i] = sums[i] * scale;
    if (has_bias) {
      for (std::int64_t i = 0; i < count; ++i) values[i] += bias[i];
    }
    if (residual != nullptr) {
      for (std::int64_t i = 0; i < count; ++i) values[i] += static_cast<float>(residual[i]);
    }
    narrow(values, count, y);
  }
};

/// In how many parts the outputs of each block of positions are handed out, so that few positions still occupy every
/// thread. Each part gathers its patches anew; no bit depends on it.
inline std::int64_t output_parts(int threads, std::int64_t position_blocks, std::int64_t column_blocks) {
  return std::clamp<std::int64_t>(ceil_div(2 * std::int64_t{threads}, position_blocks), 1, column_blocks);
}

}  // namespace detail

template <class Gemm, Element T>
std::size_t convolution_workspace_bytes(int threads, const WeightMatrix& weight, const ConvolutionGeometry& geometry) {
  using Cutter = detail::ScratchCutter;
  const std::int64_t panel =
      detail::needs_panel<Gemm, T>(weight) ? std::min(weight.rows, gemm_columns) * weight.columns : 0;
  const std::size_t thread =
      detail::PatchProduct<Gemm, T>::bytes(weight.columns, weight.rows) + Cutter::bytes<const T*>(geometry.taps());
  return Cutter::bytes<T>(weight.columns / geometry.taps()) + Cutter::bytes<T>(panel) +
         static_cast<std::size_t>(threads) * thread;
}

/// y = convolution(x) + bias + residual; see ConvolutionArguments.
///
/// Shapes    x [T, H, W, in], y [T', H', W', out] with contiguous channels; residual may be y, x may not overlap y
/// Memory    convolution_workspace_bytes
/// Cost      2 * positions * in * taps * out flops
/// Throws    ShapeError, OutOfMemory, Cancelled
template <Element T, class Gemm>
void convolve(ThreadPool& pool, const Gemm& gemm, TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments,
              TensorView<T, 4> y, Arena& arena) {
  ltxmem::detail::check_convolution(x, arguments, y);
  const WeightMatrix& weight = arguments.weight;
  const ConvolutionGeometry& geometry = arguments.geometry;
  const Extents<4> extents = y.extents();
  const std::int64_t positions = extents[0] * extents[1] * extents[2];
  const std::int64_t channels = x.extent(3);

  const auto scope = arena.scope();
  detail::ScratchCutter cutter(arena.take_bytes(
      "convolution workspace", convolution_workspace_bytes<Gemm, T>(pool.threads(), weight, geometry)));
  if (y.empty()) return;
  T* zeros = cutter.take<T>(channels);
  std::fill(zeros, zeros + channels, T(0.0F));

  const bool in_place = !detail::needs_panel<Gemm, T>(weight);
  const std::int64_t panel_rows = in_place ? weight.rows : std::min(weight.rows, gemm_columns);
  T* panel = in_place ? nullptr : cutter.take<T>(panel_rows * weight.columns);
  void* thread_scratch = cutter.take<std::byte>(0);
  const std::size_t thread_bytes = detail::PatchProduct<Gemm, T>::bytes(weight.columns, weight.rows) +
                                   detail::ScratchCutter::bytes<const T*>(geometry.taps());

  for (std::int64_t group = 0; group < weight.rows; group += panel_rows) {
    const WeightMatrix part = weight.row_slice(group, std::min(panel_rows, weight.rows - group));
    TensorView<const T, 2> rows(reinterpret_cast<const T*>(part.data), {part.rows, part.columns}, {part.row_stride, 1});
    if (!in_place) {
      pool.parallel_for(part.rows,
                        [&](std::int64_t row, int) { detail::expand_panel(part, row, 1, panel + row * part.columns); });
      rows = {panel, {part.rows, part.columns}};
    }

    const std::int64_t blocks = ceil_div(positions, row_quantum);
    const std::int64_t column_blocks = ceil_div(part.rows, gemm_columns);
    const std::int64_t parts = detail::output_parts(pool.threads(), blocks, column_blocks);
    const std::int64_t part_rows = ceil_div(column_blocks, parts) * gemm_columns;
    pool.parallel_for(blocks * parts, [&](std::int64_t item, int thread) {
      detail::ScratchCutter own(static_cast<std::byte*>(thread_scratch) +
                                static_cast<std::size_t>(thread) * thread_bytes);
      const detail::PatchProduct<Gemm, T> product(own, weight.columns, weight.rows);
      const T** taps_at = own.take<const T*>(geometry.taps());

      const std::int64_t first = item / parts * row_quantum;
      const std::int64_t count = std::min(row_quantum, positions - first);
      const std::int64_t begin = item % parts * part_rows;
      const std::int64_t end = std::min(part.rows, begin + part_rows);
      if (begin >= end) return;
      detail::gather_patches(x, geometry, extents, first, count, zeros, taps_at, product.patches);
      for (std::int64_t column = begin; column < end; column += gemm_columns) {
        const std::int64_t width = std::min(gemm_columns, end - column);
        const detail::ConvolutionEpilogue epilogue(weight, arguments.bias, group + column, width);
        const TensorView<const float, 2> sums = product.multiply(gemm, count, rows.rows(column, width));
        detail::OutputPosition at(first, extents);
        for (std::int64_t row = 0; row < count; ++row, at.advance(extents)) {
          const T* residual =
              arguments.residual.empty() ? nullptr : &arguments.residual(at.t, at.h, at.w, group + column);
          epilogue(sums.data() + row * width, width, residual, &y(at.t, at.h, at.w, group + column));
        }
      }
    });
  }
}

namespace detail {

/// Most taps of the kernel that meet one output position.
inline std::int64_t taps_per_phase(const TransposedConvolutionArguments& arguments) {
  return ceil_div(arguments.kernel, arguments.stride);
}

/// Weights of the outputs [begin, begin + count) at one phase as rows of [tap, in].
template <Element T>
void pack_phase(ThreadPool& pool, const TransposedConvolutionArguments& arguments, std::int64_t phase,
                std::int64_t taps, std::int64_t begin, std::int64_t count, T* panel) {
  constexpr std::int64_t outputs = 16;  // neighbours share cache lines of the stored weight
  const WeightMatrix& weight = arguments.weight;
  pool.parallel_for(ceil_div(count, outputs), [&](std::int64_t item, int) {
    with_floating_type(weight.dtype, [&]<class W>(const W*) {
      for (std::int64_t channel = 0; channel < weight.rows; ++channel) {
        for (std::int64_t o = item * outputs; o < std::min(count, (item + 1) * outputs); ++o) {
          const std::int64_t first = channel * weight.row_stride + (begin + o) * arguments.kernel + phase;
          for (std::int64_t tap = 0; tap < taps; ++tap) {
            W value;  // may be misaligned where it is stored
            std::memcpy(&value, weight.data + (first + tap * arguments.stride) * std::int64_t{sizeof(W)}, sizeof(W));
            panel[(o * taps + tap) * weight.rows + channel] = static_cast<T>(static_cast<float>(value));
          }
        }
      }
    });
  });
}

}  // namespace detail

template <class Gemm, Element T>
std::size_t transposed_workspace_bytes(int threads, const TransposedConvolutionArguments& arguments) {
  const std::int64_t outputs = arguments.weight.columns / arguments.kernel;
  const std::int64_t inner = arguments.weight.rows * detail::taps_per_phase(arguments);
  return detail::ScratchCutter::bytes<T>(std::min(outputs, gemm_columns) * inner) +
         static_cast<std::size_t>(threads) * detail::PatchProduct<Gemm, T>::bytes(inner, outputs);
}

/// y = transposed convolution(x) + bias; see TransposedConvolutionArguments.
///
/// Output n adds up the taps k with n + padding - k divisible by the stride: outputs of one phase, (n + padding) mod
/// stride, share their taps, and each phase is an ordinary convolution.
///
/// Shapes    x [N, in], y [(N - 1) stride + kernel - 2 padding, out] with contiguous channels; kernel >= stride
/// Memory    transposed_workspace_bytes
/// Cost      2 * N * in * kernel * out flops
/// Throws    ShapeError, OutOfMemory, Cancelled
template <Element T, class Gemm>
void convolve_transposed(ThreadPool& pool, const Gemm& gemm, TensorView<const T, 2> x,
                         const TransposedConvolutionArguments& arguments, TensorView<T, 2> y, Arena& arena) {
  ltxmem::detail::check_transposed(x, arguments, y);
  const std::int64_t channels = x.extent(1);
  const std::int64_t outputs = y.extent(1);
  const std::int64_t stride = arguments.stride;
  const std::int64_t most_inner = channels * detail::taps_per_phase(arguments);

  const auto scope = arena.scope();
  detail::ScratchCutter cutter(
      arena.take_bytes("convolution workspace", transposed_workspace_bytes<Gemm, T>(pool.threads(), arguments)));
  T* panel = cutter.take<T>(std::min(outputs, gemm_columns) * most_inner);
  void* thread_scratch = cutter.take<std::byte>(0);
  const std::size_t thread_bytes = detail::PatchProduct<Gemm, T>::bytes(most_inner, outputs);

  for (std::int64_t phase = 0; phase < stride; ++phase) {
    const std::int64_t taps = ceil_div(arguments.kernel - phase, stride);
    const std::int64_t first_output = ((phase - arguments.padding) % stride + stride) % stride;
    if (first_output >= y.extent(0)) continue;
    const std::int64_t positions = ceil_div(y.extent(0) - first_output, stride);
    for (std::int64_t column = 0; column < outputs; column += gemm_columns) {
      const std::int64_t width = std::min(gemm_columns, outputs - column);
      detail::pack_phase(pool, arguments, phase, taps, column, width, panel);
      const detail::ConvolutionEpilogue epilogue(arguments.weight, arguments.bias, column, width);
      pool.parallel_for(ceil_div(positions, row_quantum), [&](std::int64_t item, int thread) {
        detail::ScratchCutter own(static_cast<std::byte*>(thread_scratch) +
                                  static_cast<std::size_t>(thread) * thread_bytes);
        const detail::PatchProduct<Gemm, T> product(own, most_inner, outputs);
        const std::int64_t first = item * row_quantum;
        const std::int64_t count = std::min(row_quantum, positions - first);
        T* patch = product.patches;
        for (std::int64_t row = first; row < first + count; ++row) {
          const std::int64_t newest = (first_output + row * stride + arguments.padding) / stride;
          for (std::int64_t tap = 0; tap < taps; ++tap, patch += channels) {
            const std::int64_t source = newest - tap;
            if (source < 0 || source >= x.extent(0)) {
              std::fill(patch, patch + channels, T(0.0F));
            } else {
              std::copy_n(x.data() + source * x.stride(0), channels, patch);
            }
          }
        }
        const TensorView<const float, 2> sums =
            product.multiply(gemm, count, TensorView<const T, 2>(panel, {width, taps * channels}));
        for (std::int64_t row = 0; row < count; ++row) {
          const std::int64_t n = first_output + (first + row) * stride;
          epilogue(sums.data() + row * width, width, static_cast<const T*>(nullptr),
                   y.data() + n * y.stride(0) + column);
        }
      });
    }
  }
}

}  // namespace ltxmem::cpu
