// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Rows that belong to somebody else are read; writing them needs a store that owns the right to.
// expect: WritableRowStore
#include "ltxmem/stores/row_store.hpp"

struct Backend {};

template <ltxmem::WritableRowStore<Backend> Store>
void fill(Store&) {}

void accepted(ltxmem::ResidentRowStore<float>& store) {
  fill(store);
}

#ifdef LTXMEM_REFUSE
void refused(ltxmem::BorrowedRowStore<float>& store) {
  fill(store);
}
#endif
