// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/config.hpp"

#if LTXMEM_X86_TARGETS && __has_include(<sys/syscall.h>)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>

/// Matrix tiles (AMX): eight registers of 16 rows of 64 bytes, and the instruction that multiplies two of them.

namespace ltxmem::cpu {

/// Whether the processor multiplies tiles of bf16 pairs and the operating system lets this process do so: the registers
/// are 8 KiB of state per thread, which Linux (since 5.16) wants to be asked for.
inline bool has_matrix_tiles() {
#if defined(SYS_arch_prctl)
  static const bool available = [] {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    constexpr unsigned amx_bf16 = 1U << 22;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & amx_bf16) == 0) return false;
    constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long tile_data = 18;               // XFEATURE_XTILEDATA
    return __builtin_cpu_supports("avx512bw") != 0 && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }();
  return available;
#else
  return false;
#endif
}

struct alignas(64) TileConfiguration {
  std::uint8_t palette;
  std::uint8_t start_row;
  std::uint8_t reserved[14];
  std::uint16_t row_bytes[16];
  std::uint8_t rows[16];
};

/// Eight tiles of 16 rows of 64 bytes.
inline constexpr TileConfiguration whole_tiles{
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

}  // namespace ltxmem::cpu
