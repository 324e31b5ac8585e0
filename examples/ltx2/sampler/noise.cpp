// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/noise.hpp"

namespace ltx2 {

void fill_normal(const NoiseStream& stream, ltxmem::TensorView<float, 2> noise) {
  ltxmem::expects(noise.is_dense(), "noise: the tensor is not dense");
  for (std::int64_t i = 0; i < noise.size(); ++i) {
    noise.data()[i] = static_cast<float>(stream.normal(static_cast<std::uint64_t>(i)));
  }
}

}  // namespace ltx2
