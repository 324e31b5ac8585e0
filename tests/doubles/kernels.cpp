// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The shared object of kernels: everything that the tests on the doubles launch, made by g++ for the executor.

#include "doubles/kernels.hpp"

#include "cuda/for_each_kernels.hpp"
#include "cuda/kernels.hpp"
#include "doubles/toy_kernels.cuh"

namespace {

const bool provided = [] {
  const auto one = [](auto* kernel) { doubles::provide(kernel); };
  ltxmem::cuda::visit_kernels(one);
  ltxmem::test::visit_for_each_kernels(one);
  one(&doubles::toys::add<0>);
  one(&doubles::toys::through_shared<0>);
  return true;
}();

}  // namespace
