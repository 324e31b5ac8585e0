// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// float8_e4m3 stores weights; activations cannot be kept in it.
// expect: is_element_v
// expect: constraints not satisfied
#include "ltxmem/core/dtype.hpp"

template <ltxmem::Element T>
struct Activation {};

Activation<ltxmem::half> accepted;

#ifdef LTXMEM_REFUSE
Activation<ltxmem::float8_e4m3> refused;
#endif
