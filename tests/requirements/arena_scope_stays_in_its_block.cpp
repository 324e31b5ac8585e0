// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A scope of an arena ends where its block ends; it can be neither copied nor moved away.
// expect(GNU): use of deleted function
// expect(Clang): call to deleted constructor
#include "ltxmem/memory/arena.hpp"

void accepted(ltxmem::Arena& arena) {
  const auto scope = arena.scope();
}

#ifdef LTXMEM_REFUSE
void refused(ltxmem::Arena& arena) {
  const auto scope = arena.scope();
  const auto copy = scope;
}
#endif
