// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/shape.hpp"

namespace ltx2 {

/// How far to either side of a piece of a signal the inputs lie that its outputs are made from.
///
/// Counted back from the outputs: begin with none and go through the layers, the last one first. At layers that change
/// the rate the piece begins and ends at whole steps of the coarser side.
struct ReceptiveField {
  std::int64_t before = 0;
  std::int64_t after = 0;

  /// Back through a convolution along one of its axes; output n belongs to the inputs [stride n, stride (n + 1)).
  ReceptiveField through(const ltxmem::ConvolutionGeometry& geometry, std::size_t axis) const {
    const std::int64_t stride = geometry.stride[axis];
    const std::int64_t padding = geometry.pad_before[axis];
    const std::int64_t last_tap = geometry.dilation[axis] * (geometry.kernel[axis] - 1);
    return {std::max<std::int64_t>(before * stride + padding, 0),
            std::max<std::int64_t>((after - 1) * stride + 1 + last_tap - padding, 0)};
  }

  /// Back through a transposed convolution; input n belongs to the outputs [stride n, stride (n + 1)).
  ReceptiveField through(const ltxmem::TransposedConvolutionArguments& raise) const {
    return {(before + raise.kernel - 1 - raise.padding) / raise.stride,
            ltxmem::ceil_div(after + raise.padding, raise.stride)};
  }

  /// Back through a filter that reaches equally far to both sides.
  ReceptiveField through_filter(std::int64_t reach) const { return {before + reach, after + reach}; }
};

/// That of outputs made in two ways.
inline ReceptiveField either(const ReceptiveField& a, const ReceptiveField& b) {
  return {std::max(a.before, b.before), std::max(a.after, b.after)};
}

}  // namespace ltx2
