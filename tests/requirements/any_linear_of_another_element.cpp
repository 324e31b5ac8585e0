// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// An erased layer is for one element type: it does not take activations of another.
// expect: same_as
#include "ltxmem/weights/any_linear.hpp"

using namespace ltxmem;
using Any = AnyLinear<bfloat16, detail::LinearArchetype>;

static_assert(LinearLayer<Any, bfloat16, detail::LinearArchetype>);

std::size_t accepted(const Any& layer, const detail::LinearArchetype& backend) {
  return layer.workspace_bytes<bfloat16>(backend, 1);
}

#ifdef LTXMEM_REFUSE
std::size_t refused(const Any& layer, const detail::LinearArchetype& backend) {
  return layer.workspace_bytes<float>(backend, 1);
}
#endif
