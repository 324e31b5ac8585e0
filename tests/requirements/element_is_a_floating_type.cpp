// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Activations are float, bfloat16 or half; integers and the 8-bit weight type are not elements.
// expect: is_element_v
// expect(GNU): constraints not satisfied
// expect(Clang): constraints not satisfied
#include "ltxmem/core/dtype.hpp"

template <ltxmem::Element T>
struct Activation {};

Activation<float> wide;
Activation<ltxmem::bfloat16> narrow;

#ifdef LTXMEM_REFUSE
Activation<int> refused;
#endif
