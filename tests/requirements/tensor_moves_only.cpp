// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A tensor owns its memory: it moves, and copying it would hide an allocation.
// expect(GNU): use of deleted function
// expect(Clang): call to implicitly-deleted copy constructor
#include "ltxmem/core/tensor.hpp"

using Matrix = ltxmem::Tensor<float, 2>;
Matrix moved(Matrix& matrix) {
  return std::move(matrix);
}

#ifdef LTXMEM_REFUSE
Matrix copied(const Matrix& matrix) {
  return matrix;
}
#endif
