// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Narrowing to a storage type rounds, so it is asked for by name.
// expect(GNU): could not convert
// expect(Clang): no viable conversion
#include "ltxmem/core/dtype.hpp"

ltxmem::bfloat16 rounded(float value) {
  return ltxmem::bfloat16(value);
}

#ifdef LTXMEM_REFUSE
ltxmem::bfloat16 refused(float value) {
  return value;
}
#endif
