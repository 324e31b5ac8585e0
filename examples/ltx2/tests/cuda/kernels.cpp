// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The shared object of kernels that the models launch on the test doubles, made by g++ for the executor.

#include "cuda/kernels.hpp"

#include "doubles/kernels.hpp"
#include "ltxmem/backend/cuda/kernels/elementwise.cuh"
#include "runtime/card_functions.hpp"

namespace {

const bool provided = [] {
  ltxmem::cuda::visit_kernels([](auto* kernel) { doubles::provide(kernel); });
  ltx2::visit_card_functions([]<class Fn>() { doubles::provide(&ltxmem::cuda::for_each_item<Fn>); });
  return true;
}();

}  // namespace
