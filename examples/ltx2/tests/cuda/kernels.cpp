// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The shared object of kernels that the models launch on the test doubles, made by g++ for the executor.

#include "cuda/kernels.hpp"

#include "doubles/kernels.hpp"
#include "ltxmem/backend/cuda/kernels/elementwise.cuh"
#include "transformer/stream_block.hpp"

namespace {

template <class Fn>
void provide_for_each() {
  doubles::provide(&ltxmem::cuda::for_each_item<Fn>);
}

const bool provided = [] {
  using namespace ltx2::detail;
  ltxmem::cuda::visit_kernels([](auto* kernel) { doubles::provide(kernel); });
  provide_for_each<AddTable<float>>();
  provide_for_each<AddTable<ltxmem::bfloat16>>();
  provide_for_each<GateHeads<float>>();
  provide_for_each<LogMask>();
  provide_for_each<RotaryAngles>();
  provide_for_each<SiluTo<float>>();
  provide_for_each<TimestepSinusoid<float>>();
  return true;
}();

}  // namespace
