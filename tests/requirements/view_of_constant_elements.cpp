// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A view of mutable elements becomes one of constant elements, never the other way round.
// expect(GNU): conversion from 'TensorView<const float,[...]>' to non-scalar type 'TensorView<float,[...]>' requested
// expect(Clang): no viable conversion from 'TensorView<const float, [...]>' to 'TensorView<float, [...]>'
#include "ltxmem/core/tensor_view.hpp"

ltxmem::TensorView<float, 2> writable;
ltxmem::TensorView<const float, 2> readable = writable;

#ifdef LTXMEM_REFUSE
ltxmem::TensorView<float, 2> refused = readable;
#endif
