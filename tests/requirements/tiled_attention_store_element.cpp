// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Keys and values have the element type of the queries.
// expect: RowStoreOf
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"

using Backend = ltxmem::CpuBackend<>;

void accepted(const ltxmem::TiledAttention<float, Backend>& attention, Backend& backend, ltxmem::Arena& arena,
              ltxmem::TensorView<float, 2> q, ltxmem::ResidentRowStore<float>& keys) {
  attention(backend, q, keys, keys, q, arena);
}

#ifdef LTXMEM_REFUSE
void refused(const ltxmem::TiledAttention<float, Backend>& attention, Backend& backend, ltxmem::Arena& arena,
             ltxmem::TensorView<float, 2> q, ltxmem::ResidentRowStore<ltxmem::half>& keys) {
  attention(backend, q, keys, keys, q, arena);
}
#endif
