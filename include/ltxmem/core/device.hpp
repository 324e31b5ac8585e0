// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

/// Where work runs and where bytes are.

namespace ltxmem {

enum class DeviceKind : std::uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  friend bool operator==(const Device&, const Device&) = default;
};

/// Memory that is counted and planned separately. On the CPU all three are ordinary host memory.
enum class MemorySpace : std::uint8_t { device, pinned, host };

inline constexpr std::array memory_spaces{MemorySpace::device, MemorySpace::pinned, MemorySpace::host};

constexpr std::string_view memory_space_name(MemorySpace space) noexcept {
  switch (space) {
    case MemorySpace::device: return "device";
    case MemorySpace::pinned: return "pinned";
    case MemorySpace::host: return "host";
  }
  return "?";
}

}  // namespace ltxmem
