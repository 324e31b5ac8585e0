// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ltxmem {

/// What the compute queue spends time on: arithmetic, memory traffic, launching, or waiting for a transfer.
enum class Bound : std::uint8_t { compute, memory, latency, copy_in, copy_out, network, disk, peer_in, peer_out };
inline constexpr std::array bounds{Bound::compute, Bound::memory, Bound::latency, Bound::copy_in, Bound::copy_out,
                                   Bound::network, Bound::disk,   Bound::peer_in, Bound::peer_out};

constexpr std::string_view bound_name(Bound bound) noexcept {
  switch (bound) {
    case Bound::compute: return "compute";
    case Bound::memory: return "memory";
    case Bound::latency: return "latency";
    case Bound::copy_in: return "copy in";
    case Bound::copy_out: return "copy out";
    case Bound::network: return "network";
    case Bound::disk: return "disk";
    case Bound::peer_in: return "peer in";
    case Bound::peer_out: return "peer out";
  }
  return "?";
}

}  // namespace ltxmem
