// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Every wait of a communicator ends: one that does not say when is refused.
// expect: Communicator
// expect: deadline
#include "ltxmem/parallel/communicator.hpp"

template <ltxmem::Communicator<ltxmem::detail::CopyingBackend> Ranks>
void use(Ranks&) {}

void accepted(ltxmem::SingleRank& ranks) {
  use(ranks);
}

#ifdef LTXMEM_REFUSE
struct WaitsForEver : ltxmem::SingleRank {
  void deadline() const;
};

void refused(WaitsForEver& ranks) {
  use(ranks);
}
#endif
