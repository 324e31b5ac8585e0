// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A store that cannot be asked ahead is not a RowStore: code that overlaps transfers with work relies on it.
// expect: RowStore
// expect: prefetch
#include "ltxmem/stores/row_store.hpp"

struct Backend {};

struct Complete {
  using value_type = float;
  std::int64_t rows() const;
  std::int64_t width() const;
  ltxmem::TensorView<const float, 2> load(Backend&, std::int64_t, std::int64_t);
  void prefetch(Backend&, std::int64_t, std::int64_t);
  Complete columns(std::int64_t, std::int64_t);
};

template <ltxmem::RowStore<Backend> Store>
void use(Store&) {}

void accepted(Complete& store) {
  use(store);
}

#ifdef LTXMEM_REFUSE
struct NoPrefetch {
  using value_type = float;
  std::int64_t rows() const;
  std::int64_t width() const;
  ltxmem::TensorView<const float, 2> load(Backend&, std::int64_t, std::int64_t);
  NoPrefetch columns(std::int64_t, std::int64_t);
};

void refused(NoPrefetch& store) {
  use(store);
}
#endif
