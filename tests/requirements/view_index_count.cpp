// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A view of rank 2 is indexed with two numbers.
// expect(GNU): no match for call to
// expect(Clang): no matching function for call to object of type
// expect(Clang): sizeof...(Index) == Rank
#include "ltxmem/core/tensor_view.hpp"

float accepted(ltxmem::TensorView<const float, 2> view) {
  return view(1, 2);
}

#ifdef LTXMEM_REFUSE
float refused(ltxmem::TensorView<const float, 2> view) {
  return view(1);
}
#endif
