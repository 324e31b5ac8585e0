// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A chunked network loops over chunks, so its backend must say how loops run: HasSteps, beside HasLinear.
// expect: FfnBackend
// expect: HasSteps
#include "ltxmem/ffn/chunked_ffn.hpp"

using namespace ltxmem;

using Accepted = ChunkedFFN<bfloat16, detail::FfnArchetype>;

#ifdef LTXMEM_REFUSE
using Refused = ChunkedFFN<bfloat16, detail::LinearArchetype>;
#endif
