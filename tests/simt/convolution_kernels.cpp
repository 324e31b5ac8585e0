// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "simt/launchers.hpp"

namespace simt {

namespace cuda = ltxmem::cuda;

namespace {

unsigned blocks(std::int64_t total, std::int64_t each) {
  return static_cast<unsigned>((total + each - 1) / each);
}

}  // namespace

template <class T, class Places>
Report run_convolution(const cuda::ConvolutionKernelArguments<Places>& a, const Options& options) {
  return launch(&cuda::convolution<T, Places>,
                {blocks(a.positions, cuda::convolution_tile), blocks(a.outputs, cuda::convolution_tile)},
                {cuda::convolution_threads}, sizeof(cuda::ConvolutionShared), options, a);
}

template <class T, class Places>
Report run_arrange_weights(const cuda::ConvolutionKernelArguments<Places>& a, const cuda::WeightPanel<T>& panel,
                           const Options& options) {
  return launch(&cuda::arrange_weights<T, Places>, {blocks((panel.end - panel.begin) * a.channels, cuda::row_threads)},
                {cuda::row_threads}, 0, options, a, panel);
}

template <class T, class Places>
Report run_matrix_convolution(const cuda::ConvolutionKernelArguments<Places>& a,
                              const cuda::WeightPanel<const T>& panel, const Options& options) {
  const int tile = cuda::matrix_convolution_outputs(panel.end - panel.begin);
  return launch(tile == 64 ? &cuda::matrix_convolution<T, Places, 64> : &cuda::matrix_convolution<T, Places, 128>,
                {blocks(a.positions, cuda::matrix_convolution_tile) * blocks(panel.end - panel.begin, tile)},
                {cuda::matrix_convolution_threads}, cuda::matrix_convolution_shared_bytes(tile), options, a, panel);
}

// NOLINTBEGIN
#define SIMT_CONVOLUTION(T)                                                                               \
  template Report run_convolution<T>(const cuda::ConvolutionKernelArguments<cuda::ConvolutionPlaces<T>>&, \
                                     const Options&);                                                     \
  template Report run_convolution<T>(const cuda::ConvolutionKernelArguments<cuda::TransposedPlaces<T>>&,  \
                                     const Options&);
SIMT_CONVOLUTION(float)
SIMT_CONVOLUTION(ltxmem::bfloat16)
SIMT_CONVOLUTION(ltxmem::half)
#define SIMT_MATRIX_CONVOLUTION(T, Places)                                                                             \
  template Report run_arrange_weights(const cuda::ConvolutionKernelArguments<Places<T>>&, const cuda::WeightPanel<T>&, \
                                      const Options&);                                                                 \
  template Report run_matrix_convolution(const cuda::ConvolutionKernelArguments<Places<T>>&,                           \
                                         const cuda::WeightPanel<const T>&, const Options&);
SIMT_MATRIX_CONVOLUTION(ltxmem::bfloat16, cuda::ConvolutionPlaces)
SIMT_MATRIX_CONVOLUTION(ltxmem::bfloat16, cuda::TransposedPlaces)
SIMT_MATRIX_CONVOLUTION(ltxmem::half, cuda::ConvolutionPlaces)
SIMT_MATRIX_CONVOLUTION(ltxmem::half, cuda::TransposedPlaces)
// NOLINTEND

}  // namespace simt
