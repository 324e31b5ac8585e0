// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/patch_product.hpp"
#include "ltxmem/backend/cpu/sse2_transpose.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/cpu/weight_panel.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

/// Convolutions on the processor as products of patches and weights (implicit GEMM). Stored weights have the taps of
/// the kernel fastest; a panel of them is made anew in every call, with the channels fastest.
///
/// Memory    per thread one block of patches, two tiles of fp32 and the product's scratch (PatchScratch); shared one
///           panel of weights [panel_outputs, in * taps] of T, where they are not used in place (lies_as_panel)
/// Numerics  see patch_product.hpp; scale, bias and residual are applied in fp32; one rounding to T. The same bits for
///           every thread count and every cut of the positions

namespace ltxmem::cpu {

namespace detail {

/// Whether a patch of one channel or one tap, in one block, finds its weights in order where they are stored.
template <class Gemm, Element T>
bool lies_as_panel(const WeightMatrix& weight, std::int64_t taps) {
  return (taps == 1 || weight.columns == taps) && PatchBlocks(weight.columns).count() == 1 &&
         !needs_panel<Gemm, T>(weight);
}

/// Weights [in, taps] of one output into the panel as [taps, in]; scratch for two rows of them.
template <Element T>
void pack_output(const WeightMatrix& weight, std::int64_t output, std::int64_t taps, T* scratch,
                 const PatchPanel<T>& panel) {
  const auto* stored = reinterpret_cast<const T*>(weight.row_slice(output, 1).data);
  T* turned = scratch + weight.columns;
  if (needs_conversion<T>(weight)) {
    expand_panel(weight, output, 1, scratch);
    stored = scratch;
  }
  transpose(stored, weight.columns / taps, taps, turned);
  panel.for_each_run(output, 0, weight.columns, [&](T* to, std::int64_t begin, std::int64_t count) {
    std::memcpy(to, turned + begin, static_cast<std::size_t>(count) * sizeof(T));
  });
}

}  // namespace detail

template <class Gemm, Element T>
std::size_t convolution_workspace_bytes(int threads, const WeightMatrix& weight, const ConvolutionGeometry& geometry) {
  const std::int64_t outputs = std::min(weight.rows, detail::panel_outputs);
  const std::int64_t panel = detail::lies_as_panel<Gemm, T>(weight, geometry.taps()) ? 0 : outputs * weight.columns;
  return detail::ScratchCutter::bytes<T>(panel) +
         static_cast<std::size_t>(threads) *
             detail::PatchScratch<Gemm, T>::bytes(detail::PatchBlocks(weight.columns), outputs);
}

/// y = convolution(x) + bias + residual; see ConvolutionArguments.
///
/// Shapes    x [T, H, W, in], y [T', H', W', out] with contiguous channels; residual may be y, x may not overlap y
/// Memory    convolution_workspace_bytes
/// Cost      2 * positions * in * taps * out flops; the weights are packed once
/// Throws    ShapeError, OutOfMemory, Cancelled
template <Element T, class Gemm>
void convolve(ThreadPool& pool, const Gemm& gemm, TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments,
              TensorView<T, 4> y, Arena& arena) {
  ltxmem::detail::check_convolution(x, arguments, y);
  const WeightMatrix& weight = arguments.weight;
  const WeightVector& bias = arguments.bias;
  const TensorView<const T, 4>& residual = arguments.residual;
  const ConvolutionGeometry& geometry = arguments.geometry;

  const auto scope = arena.scope();
  detail::ScratchCutter cutter(arena.take_bytes(
      "convolution workspace", convolution_workspace_bytes<Gemm, T>(pool.threads(), weight, geometry)));
  if (y.empty()) return;
  const detail::PatchBlocks blocks(weight.columns);
  const std::int64_t group_size = std::min(weight.rows, detail::panel_outputs);
  const bool in_place = detail::lies_as_panel<Gemm, T>(weight, geometry.taps());
  T* packed = cutter.take<T>(in_place ? 0 : group_size * weight.columns);
  auto* scratch = cutter.take<std::byte>(0);
  const std::size_t thread_bytes = detail::PatchScratch<Gemm, T>::bytes(blocks, group_size);
  const float scale = weight.scale == nullptr ? 1.0F : *weight.scale;

  for (std::int64_t group = 0; group < weight.rows; group += group_size) {
    const WeightMatrix part = weight.row_slice(group, std::min(group_size, weight.rows - group));
    detail::PatchPanel<const T> panel{packed, part.rows, blocks};
    if (in_place) {
      panel.data = reinterpret_cast<const T*>(part.data);
      panel.row_stride = part.row_stride;
    } else {
      pool.parallel_for(part.rows, [&](std::int64_t output, int thread) {
        const detail::PatchScratch<Gemm, T> own(scratch + static_cast<std::size_t>(thread) * thread_bytes, blocks,
                                                group_size);
        detail::pack_output(part, output, geometry.taps(), own.patches,
                            detail::PatchPanel<T>{packed, part.rows, blocks});
      });
    }
    detail::multiply_patches(pool, gemm, x, geometry, panel, scale, bias.empty() ? bias : bias.slice(group, part.rows),
                             residual.empty() ? residual : residual.slice(3, group, part.rows),
                             y.slice(3, group, part.rows), scratch);
  }
}

namespace detail {

/// Most taps of the kernel that meet one output position.
inline std::int64_t taps_per_phase(const TransposedConvolutionArguments& arguments) {
  return ceil_div(arguments.kernel, arguments.stride);
}

/// Weights of the outputs [begin, begin + panel.outputs) at one phase: of its taps, which are stride apart, the last
/// meets the first input.
template <Element T>
void pack_phase(ThreadPool& pool, const TransposedConvolutionArguments& arguments, std::int64_t phase,
                std::int64_t taps, std::int64_t begin, const PatchPanel<T>& panel) {
  // A thread takes as many outputs and channels at a time as leave what it reads in its first cache.
  constexpr std::int64_t outputs = 16;
  constexpr std::int64_t channels = 32;
  const WeightMatrix& weight = arguments.weight;
  pool.parallel_for(ceil_div(panel.outputs, outputs), [&](std::int64_t item, int) {
    const std::int64_t end = std::min(panel.outputs, (item + 1) * outputs);
    with_floating_type(weight.dtype, [&]<class W>(const W*) {
      for (std::int64_t channel = 0; channel < weight.rows; channel += channels) {
        const std::int64_t count = std::min(channels, weight.rows - channel);
        for (std::int64_t o = item * outputs; o < end; ++o) {
          for (std::int64_t tap = 0; tap < taps; ++tap) {
            const std::int64_t stored = (begin + o) * arguments.kernel + phase + (taps - 1 - tap) * arguments.stride;
            panel.for_each_run(o, tap * weight.rows + channel, count, [&](T* to, std::int64_t first, std::int64_t n) {
              for (std::int64_t i = 0; i < n; ++i) {
                W value;  // may be misaligned where it is stored
                const std::int64_t at = (channel + first + i) * weight.row_stride + stored;
                std::memcpy(&value, weight.data + at * std::int64_t{sizeof(W)}, sizeof(W));
                to[i] = static_cast<T>(static_cast<float>(value));
              }
            });
          }
        }
      }
    });
  });
}

}  // namespace detail

template <class Gemm, Element T>
std::size_t transposed_workspace_bytes(int threads, const TransposedConvolutionArguments& arguments) {
  const std::int64_t outputs = std::min(arguments.weight.columns / arguments.kernel, detail::panel_outputs);
  const detail::PatchBlocks blocks(arguments.weight.rows * detail::taps_per_phase(arguments));
  return detail::ScratchCutter::bytes<T>(outputs * blocks.columns) +
         static_cast<std::size_t>(threads) * detail::PatchScratch<Gemm, T>::bytes(blocks, outputs);
}

/// y = transposed convolution(x) + bias; see TransposedConvolutionArguments.
///
/// Output n adds up the taps k with n + padding - k divisible by the stride: outputs of one phase, (n + padding) mod
/// stride, share their taps, and each phase is an ordinary convolution with zeros around x.
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
  const WeightVector& bias = arguments.bias;
  const std::int64_t group_size = std::min(outputs, detail::panel_outputs);

  const auto scope = arena.scope();
  detail::ScratchCutter cutter(
      arena.take_bytes("convolution workspace", transposed_workspace_bytes<Gemm, T>(pool.threads(), arguments)));
  T* packed = cutter.take<T>(group_size * channels * detail::taps_per_phase(arguments));
  auto* scratch = cutter.take<std::byte>(0);
  const float scale = arguments.weight.scale == nullptr ? 1.0F : *arguments.weight.scale;
  const TensorView<const T, 4> line(x.data(), {1, 1, x.extent(0), channels}, {0, 0, x.stride(0), 1});

  for (std::int64_t phase = 0; phase < stride; ++phase) {
    const std::int64_t taps = ceil_div(arguments.kernel - phase, stride);
    const std::int64_t first = ((phase - arguments.padding) % stride + stride) % stride;
    if (first >= y.extent(0)) continue;
    const std::int64_t positions = ceil_div(y.extent(0) - first, stride);
    const std::int64_t newest = (first + arguments.padding) / stride;  // input under the last tap at the first output
    const ConvolutionGeometry geometry{.kernel = {1, 1, taps}, .pad_before = {0, 0, taps - 1 - newest}};
    for (std::int64_t group = 0; group < outputs; group += group_size) {
      const detail::PatchPanel<T> panel{packed, std::min(group_size, outputs - group),
                                        detail::PatchBlocks(taps * channels)};
      detail::pack_phase(pool, arguments, phase, taps, group, panel);
      const TensorView<T, 4> to(y.data() + first * y.stride(0) + group, {1, 1, positions, panel.outputs},
                                {0, 0, stride * y.stride(0), 1});
      detail::multiply_patches(pool, gemm, line, geometry,
                               detail::PatchPanel<const T>{packed, panel.outputs, panel.blocks}, scale,
                               bias.empty() ? bias : bias.slice(group, panel.outputs), {}, to, scratch);
    }
  }
}

}  // namespace ltxmem::cpu
