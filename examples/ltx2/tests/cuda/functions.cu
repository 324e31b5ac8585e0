// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cuda/kernels/elementwise.cuh"
#include "runtime/card_functions.hpp"

/// The kernels of the models' own functions, compiled and looked at, never run.
void instantiate_functions(void (*visit)(void*)) {
  ltx2::visit_card_functions([&]<class Fn>() { visit(reinterpret_cast<void*>(&ltxmem::cuda::for_each_item<Fn>)); });
}
