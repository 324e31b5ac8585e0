// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A store with copies under way moves on but has no second: two would empty the same slots.
// expect(GNU): use of deleted function
// expect(Clang): implicitly-deleted copy constructor
#include <utility>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/stores/host_row_store.hpp"

using Store = ltxmem::HostRowStore<float, ltxmem::CpuBackend<>>;

void accepted(Store& store) {
  Store moved = std::move(store);
  moved.finish();
}

#ifdef LTXMEM_REFUSE
void refused(Store& store) {
  Store copied = store;
}
#endif
