// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Attention works on element types; the 8-bit weight type is none.
// expect: constraints not satisfied
// expect: is_element_v
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"

void accepted(const ltxmem::TiledAttention<ltxmem::half, ltxmem::CpuBackend<>>& attention) {
  static_cast<void>(attention.options());
}

#ifdef LTXMEM_REFUSE
void refused(const ltxmem::TiledAttention<ltxmem::float8_e4m3, ltxmem::CpuBackend<>>& attention) {
  static_cast<void>(attention.options());
}
#endif
