// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/dtype.hpp"

namespace ltx2 {

/// Tokens of a query tile from which schemes E3 and E4 hide the link: attention then computes on a tile of keys and
/// values, 4 q W flops per key, for as long as the next one takes to come, 2 W values per key. So q is half the bytes
/// of a value times flops per byte of the link, whatever width W and the clip; in whole quanta, as tiles are.
/// With stores the link is that to other devices.
inline std::int64_t hiding_query_tile(const ltxmem::DeviceProfile& profile, ltxmem::DType dtype,
                                      bool has_stores = false) {
  const bool is_f32 = dtype == ltxmem::DType::f32;
  const double flops_per_s =
      profile.flops_per_s(is_f32 ? ltxmem::Arithmetic::f32_attention : ltxmem::Arithmetic::bf16_attention);
  const double flops_per_byte =
      flops_per_s / profile.bytes_per_s(has_stores ? ltxmem::WorkQueue::peer_in : ltxmem::WorkQueue::copy_in);
  const double tokens = (is_f32 ? 2.0 : 1.0) * flops_per_byte;
  return ltxmem::round_up(static_cast<std::int64_t>(std::ceil(tokens)), ltxmem::row_quantum);
}

}  // namespace ltx2
