// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/cpu/attention.hpp"
#include "ltxmem/backend/cpu/convolution.hpp"
#include "ltxmem/backend/cpu/linear.hpp"

namespace ltxmem {

/// What a CpuBackend needs besides its operands, by formula: the part of it that a dry run shares.
template <class Gemm>
struct CpuTarget {
  int threads = 1;

  template <Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const WeightMatrix& weight) const {
    return cpu::linear_workspace_bytes<Gemm, T>(threads, tokens, weight);
  }
  template <Element T>
  std::size_t attention_workspace_bytes(const AttentionTile<T>& tile) const {
    return cpu::attention_workspace_bytes(threads, tile);
  }
  template <Element T>
  std::size_t convolution_workspace_bytes(const WeightMatrix& weight, const ConvolutionGeometry& geometry) const {
    return cpu::convolution_workspace_bytes<Gemm, T>(threads, weight, geometry);
  }
  template <Element T>
  std::size_t transposed_workspace_bytes(const TransposedConvolutionArguments& arguments) const {
    return cpu::transposed_workspace_bytes<Gemm, T>(threads, arguments);
  }
};

}  // namespace ltxmem
