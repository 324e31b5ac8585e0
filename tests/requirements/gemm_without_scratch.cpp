// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A gemm states the scratch it needs; one that does not cannot serve a CpuBackend.
// expect: CpuBackend: the Gemm parameter does not model CpuGemm
#include "ltxmem/backend/cpu/linear.hpp"
#include "ltxmem/backend/cpu/portable_gemm.hpp"

using namespace ltxmem;

struct Unplanned {
  static constexpr bool dense_operands = false;
  template <Element T>
  void multiply(TensorView<const T, 2>, TensorView<const T, 2>, TensorView<float, 2>, std::byte*) const;
};

template <class Gemm>
void run(ThreadPool& pool, const Gemm& gemm, std::span<const LinearTerm<float>> terms, TensorView<float, 2> y,
         Arena& arena) {
  cpu::linear<float>(pool, gemm, terms, LinearEpilogue<float>{}, y, arena);
}

template void run(ThreadPool&, const PortableGemm&, std::span<const LinearTerm<float>>, TensorView<float, 2>, Arena&);

#ifdef LTXMEM_REFUSE
template void run(ThreadPool&, const Unplanned&, std::span<const LinearTerm<float>>, TensorView<float, 2>, Arena&);
#endif
