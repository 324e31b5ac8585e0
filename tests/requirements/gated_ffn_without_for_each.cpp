// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The gated network numbers its rows with for_each, which the plain one does not need.
// expect: HasForEach
#include "ltxmem/ffn/chunked_gated_ffn.hpp"

using namespace ltxmem;

struct WithForEach : detail::FfnArchetype {
  template <class Fn>
  void for_each(const OperationCost&, std::int64_t, Fn);
};

using Accepted = ChunkedGatedFFN<float, WithForEach>;

#ifdef LTXMEM_REFUSE
using Refused = ChunkedGatedFFN<float, detail::FfnArchetype>;
#endif
