// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "simt/launchers.hpp"

namespace simt {

namespace cuda = ltxmem::cuda;

template <class T, class Places>
Report run_convolution(const cuda::ConvolutionKernelArguments<Places>& a, const Options& options) {
  const auto tiles = [](std::int64_t count) {
    return static_cast<unsigned>((count + cuda::convolution_tile - 1) / cuda::convolution_tile);
  };
  return launch(&cuda::convolution<T, Places>, {tiles(a.positions), tiles(a.outputs)}, {cuda::convolution_threads},
                sizeof(cuda::ConvolutionShared), options, a);
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
// NOLINTEND

}  // namespace simt
