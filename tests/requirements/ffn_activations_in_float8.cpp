// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// float8 is for weights: no network keeps its activations in it.
// expect: is_element_v
#include "ltxmem/ffn/chunked_ffn.hpp"

using namespace ltxmem;

using Accepted = ChunkedFFN<half, detail::FfnArchetype>;

#ifdef LTXMEM_REFUSE
using Refused = ChunkedFFN<float8_e4m3, detail::FfnArchetype>;
#endif
