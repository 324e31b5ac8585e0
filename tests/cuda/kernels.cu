// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "cuda/kernels.hpp"

/// Compiled and looked at, never run.
void instantiate_kernels() {
  ltxmem::cuda::visit_kernels([](auto*) {});
}
