// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A store with copies under way can neither be copied nor moved: its slots are being written to.
// expect(GNU): use of deleted function
// expect(Clang): call to deleted constructor
#include <utility>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/stores/host_row_store.hpp"

using Store = ltxmem::HostRowStore<float, ltxmem::CpuBackend<>>;

void accepted(Store& store) {
  auto part = store.columns(0, 1);
  part.finish();
}

#ifdef LTXMEM_REFUSE
void refused(Store& store) {
  Store moved = std::move(store);
}
#endif
