// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A weight matrix alone is no layer: say which kind of layer it is.
// expect(GNU): to non-scalar type 'Any'
// expect(Clang): no known conversion
#include "ltxmem/weights/any_linear.hpp"

using namespace ltxmem;
using Any = AnyLinear<float, detail::LinearArchetype>;

Any accepted(const WeightMatrix& weight) {
  return DenseLinear(weight);
}

#ifdef LTXMEM_REFUSE
Any refused(const WeightMatrix& weight) {
  Any layer = weight;
  return layer;
}
#endif
