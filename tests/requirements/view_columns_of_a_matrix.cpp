// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// columns() is for matrices; other ranks name the axis.
// expect: constraints not satisfied
#include "ltxmem/core/tensor_view.hpp"

using Volume = ltxmem::TensorView<float, 3>;
Volume accepted(Volume view) {
  return view.slice(2, 0, 1);
}

#ifdef LTXMEM_REFUSE
Volume refused(Volume view) {
  return view.columns(0, 1);
}
#endif
