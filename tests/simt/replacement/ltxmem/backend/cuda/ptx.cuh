// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>

#include "ltxmem/backend/cuda/device.cuh"
#include "ltxmem/core/dtype.hpp"

/// The instructions of kernels on the executor: stands in for the library's file of the same name.

namespace ltxmem::cuda {

template <class T>
requires(std::same_as<T, bfloat16> ||
         std::same_as<T, half>) void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                                  std::uint32_t b1, simt::Where where = simt::Where::current()) {
  constexpr auto format = std::same_as<T, half> ? simt::device::Format::f16 : simt::device::Format::bf16;
  simt::device::multiply_m16n8k16(format, d, a, b0, b1, where);
}
inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, simt::Where where = simt::Where::current()) {
  simt::device::load_matrices(false, r, row, where);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, simt::Where where = simt::Where::current()) {
  simt::device::load_matrices(true, r, row, where);
}
inline void cp_async_16(void* to, const void* from, bool valid, simt::Where where = simt::Where::current()) {
  simt::device::copy_async(to, from, 16, valid, where);
}
inline void cp_async_commit() {
  simt::device::commit_copies();
}
template <int newest_allowed>
void cp_async_wait() {
  simt::device::wait_copies(newest_allowed);
}
template <class T>
std::uint32_t pack_pair(float low, float high) {
  return static_cast<std::uint32_t>(T(high).bits) << 16 | T(low).bits;
}
inline float exp2_approximate(float x) {
  return std::exp2(x);
}

}  // namespace ltxmem::cuda
