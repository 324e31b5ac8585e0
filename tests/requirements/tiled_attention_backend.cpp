// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Attention names what it asks of a backend: one without the operation is refused by the concept of that name.
// expect: constraints not satisfied
// expect: HasAttention
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"

void accepted(const ltxmem::TiledAttention<float, ltxmem::CpuBackend<>>& attention) {
  static_cast<void>(attention.options());
}

#ifdef LTXMEM_REFUSE
struct NoBackend {};

void refused(const ltxmem::TiledAttention<float, NoBackend>& attention) {
  static_cast<void>(attention.options());
}
#endif
