// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem::cpu {

template <class Gemm, Element T>
std::size_t convolution_workspace_bytes(int threads, const WeightMatrix& weight, const ConvolutionGeometry& geometry);

template <class Gemm, Element T>
std::size_t transposed_workspace_bytes(int threads, const TransposedConvolutionArguments& arguments);

template <Element T, class Gemm>
void convolve(ThreadPool& pool, const Gemm& gemm, TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments,
              TensorView<T, 4> y, Arena& arena);

template <Element T, class Gemm>
void convolve_transposed(ThreadPool& pool, const Gemm& gemm, TensorView<const T, 2> x,
                         const TransposedConvolutionArguments& arguments, TensorView<T, 2> y, Arena& arena);

}  // namespace ltxmem::cpu
