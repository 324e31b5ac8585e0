// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Adapters are summed with their base in one operation, so the base must be one matrix: erase the layer afterwards.
// expect: MatrixLayer
// expect: layer.weight()
#include "ltxmem/weights/any_linear.hpp"
#include "ltxmem/weights/lora_linear.hpp"

using namespace ltxmem;
using Any = AnyLinear<float, detail::LinearArchetype>;

Any accepted(const LoraLinear<DenseLinear>& layer) {
  return layer;
}

#ifdef LTXMEM_REFUSE
using Refused = LoraLinear<Any>;
#endif
