// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/flash_attention.cuh"
#include "ltxmem/backend/cuda/kernels/linear.cuh"
#include "ltxmem/backend/cuda/kernels/matrix_convolution.cuh"
#include "ltxmem/backend/cuda/kernels/norm.cuh"
#include "simt/executor.hpp"

/// Launches of the kernels. They are defined in *_kernels.cpp, the only files whose accesses are checked, so that a
/// test neither pays for the checks nor is compiled again when a kernel changes.

namespace simt {

using ltxmem::cuda::AttentionKernelArguments;
using ltxmem::cuda::DeviceSoftmaxState;
using ltxmem::cuda::DeviceTokenRows;
using ltxmem::cuda::Rows;

/// key_rows 0 is the kernel for any head dim.
template <class T>
Report run_attention(const AttentionKernelArguments<T>& arguments, std::int64_t heads, int key_rows,
                     const Options& options);
template <class T>
Report run_norm(const ltxmem::cuda::NormKernelArguments<T>& arguments, std::int64_t rows, int width,
                const Options& options);
template <class T>
Report run_head_norm(const ltxmem::cuda::HeadNormKernelArguments<T>& arguments, std::int64_t rows,
                     const Options& options);
template <class T>
Report run_finalize(const DeviceSoftmaxState& state, Rows<const float> gate, Rows<T> out, Rows<float> natural_lse,
                    std::int64_t rows, std::int64_t heads, std::int64_t head_dim, const Options& options);
Report run_reset(const DeviceSoftmaxState& state, std::int64_t rows, std::int64_t heads, std::int64_t head_dim,
                 const Options& options);
Report run_merge(const DeviceSoftmaxState& from, const DeviceSoftmaxState& into, std::int64_t rows, std::int64_t heads,
                 std::int64_t head_dim, const Options& options);
template <class T>
Report run_head_norm_factors(Rows<const T> x, std::int64_t rows, std::int64_t width, float eps, float* factors,
                             const Options& options);
template <class Out>
Report run_finish(const ltxmem::cuda::FinishKernelArguments<Out>& arguments, std::int64_t rows, int width,
                  const Options& options);
Report run_product_factors(float strength, const float* scale, float beta, float* factors);
template <class From, class To>
Report run_cast(Rows<const From> from, Rows<To> to, std::int64_t rows, std::int64_t columns, int width,
                const Options& options);
/// y[i] = 2 x[i], by calls, or by calls of five parts.
struct Doubled {
  const float* x;
  float* y;
  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const { y[i] = 2.0F * x[i]; }
};
struct DoubledByParts : Doubled {
  static constexpr std::int64_t parts = 5;
  LTXMEM_HOST_DEVICE void part(std::int64_t i, std::int64_t part) const { Doubled::operator()(i* parts + part); }
};
/// fn is one of these two.
template <class Fn>
Report run_for_each(const Fn& fn, std::int64_t count, const Options& options);
/// Places is ConvolutionPlaces or TransposedPlaces of T.
template <class T, class Places>
Report run_convolution(const ltxmem::cuda::ConvolutionKernelArguments<Places>& arguments, const Options& options);
/// Both kernels of the matrix units; T is bfloat16 or half.
template <class T, class Places>
Report run_arrange_weights(const ltxmem::cuda::ConvolutionKernelArguments<Places>& arguments,
                           const ltxmem::cuda::WeightPanel<T>& panel, const Options& options);
template <class T, class Places>
Report run_matrix_convolution(const ltxmem::cuda::ConvolutionKernelArguments<Places>& arguments,
                              const ltxmem::cuda::WeightPanel<const T>& panel, const Options& options);

}  // namespace simt
