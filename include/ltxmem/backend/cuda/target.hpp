// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/cuda/tuning.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/resource.hpp"

namespace ltxmem {

namespace cuda {

/// What one term of a linear operation needs, besides the factors of its product and what cuBLASLt may use.
struct LinearLayout {
  std::int64_t rows = 0;        ///< of the tile of sums
  std::int64_t columns = 0;     ///< outputs of a block
  std::size_t panel_bytes = 0;  ///< columns by inputs, T; zero when the weight is used in place

  std::size_t sums_bytes() const { return aligned_bytes(byte_count<float>(Extents<2>{rows, columns})); }
  std::size_t bytes() const { return product_workspace_bytes + buffer_alignment + sums_bytes() + panel_bytes; }
};

/// Bytes of a block of weight rows expanded to T.
template <Element T>
std::size_t panel_bytes(std::int64_t columns, const WeightMatrix& weight) {
  return weight.dtype == dtype_of<T> ? 0 : aligned_bytes(byte_count<T>(Extents<2>{columns, weight.columns}));
}

/// The width of a block follows from the weight alone.
template <Element T>
LinearLayout linear_layout(std::int64_t tokens, const WeightMatrix& weight) {
  constexpr std::int64_t narrowest = 64;
  LinearLayout layout;
  layout.rows = std::min(tokens, linear_rows);
  layout.columns = std::min(linear_columns, round_up(weight.rows, narrowest));
  if (weight.dtype != dtype_of<T>) {
    const std::int64_t row_bytes = std::max<std::int64_t>(weight.columns, 1) * static_cast<std::int64_t>(sizeof(T));
    const std::int64_t fitting = linear_panel_bytes / row_bytes / narrowest * narrowest;
    layout.columns = std::clamp(fitting, narrowest, layout.columns);
  }
  layout.panel_bytes = panel_bytes<T>(layout.columns, weight);
  return layout;
}

/// Weights that a convolution on the matrix units arranges at a time; nothing where it runs in fp32.
struct PanelLayout {
  std::int64_t outputs = 0;
  std::size_t bytes = 0;  ///< outputs by taps by channels, T
};

/// Follows from the weight alone, so that a plan needs no address.
template <Element T>
PanelLayout convolution_panel(std::int64_t outputs, std::int64_t channels, std::int64_t taps) {
  if (sizeof(T) != 2 || channels == 0 || channels % 8 != 0) return {};
  const std::int64_t row_bytes = channels * taps * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t fitting = convolution_panel_bytes / row_bytes / matrix_convolution_tile * matrix_convolution_tile;
  PanelLayout layout;
  layout.outputs = std::min(outputs, std::max<std::int64_t>(fitting, matrix_convolution_tile));
  layout.bytes = aligned_bytes(byte_count<T>(Extents<2>{layout.outputs, channels * taps}));
  return layout;
}

}  // namespace cuda

/// What a CudaBackend needs besides its operands, by formula and without a toolkit: for dry runs that plan for a card.
struct CudaTarget {
  template <Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const WeightMatrix& weight) const {
    return tokens == 0 || weight.rows == 0 ? 0 : cuda::linear_layout<T>(tokens, weight).bytes();
  }
  template <Element T>
  std::size_t attention_workspace_bytes(const AttentionTile<T>&) const {
    return 0;
  }
  template <Element T>
  std::size_t convolution_workspace_bytes(const WeightMatrix& weight, const ConvolutionGeometry& geometry) const {
    return cuda::convolution_panel<T>(weight.rows, weight.columns / geometry.taps(), geometry.taps()).bytes;
  }
  template <Element T>
  std::size_t transposed_workspace_bytes(const TransposedConvolutionArguments& arguments) const {
    return cuda::convolution_panel<T>(arguments.weight.columns / arguments.kernel, arguments.weight.rows,
                                      arguments.kernel)
        .bytes;
  }
};

}  // namespace ltxmem
