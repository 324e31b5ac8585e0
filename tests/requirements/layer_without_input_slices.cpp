// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A chunked network cuts its layers, so a layer that cannot be cut is no LinearLayer.
// expect: LinearLayer
// expect: layer.slice_inputs(number, number)
#include "ltxmem/ffn/chunked_ffn.hpp"

using namespace ltxmem;
using Archetype = detail::FfnArchetype;

struct Uncut {
  std::int64_t inputs() const;
  std::int64_t outputs() const;
  template <Element T, HasLinear<T> B, class Out>
  void apply(B&, TensorView<const T, 2>, const LinearEpilogue<Out>&, TensorView<Out, 2>, Arena&) const;
  Uncut slice_outputs(std::int64_t, std::int64_t) const;
  template <Element T, HasLinear<T> B>
  std::size_t workspace_bytes(const B&, std::int64_t) const;
};
struct Cut : Uncut {
  Cut slice_outputs(std::int64_t, std::int64_t) const;
  Cut slice_inputs(std::int64_t, std::int64_t) const;
};

using Accepted = ChunkedFFN<float, Archetype, Cut>;

#ifdef LTXMEM_REFUSE
using Refused = ChunkedFFN<float, Archetype, Uncut>;
#endif
