// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Vectors whose length is unknown at compile time cannot be members of a register tile: such targets are left out.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ltxmem/backend/cpu/highway_attention_kernel.hpp"
#include <hwy/foreach_target.h>

#include "ltxmem/backend/cpu/highway_attention_kernel.hpp"

namespace ltxmem {

namespace cpu {

// HWY_EXPORT names the functions relative to this namespace and makes a table. A table local to an inline function is
// the same object in every translation unit, which one at namespace scope would not be.

inline void highway_append(const AttentionQuantum& quantum) {
  HWY_EXPORT(append_quantum);
  HWY_DYNAMIC_DISPATCH(append_quantum)(quantum);
}

inline void highway_pack_keys(const void* rows, DType dtype, std::int64_t stride, std::int64_t count,
                              std::int64_t head_dim, float* packed) {
  HWY_EXPORT(pack_key_rows);
  HWY_DYNAMIC_DISPATCH(pack_key_rows)(rows, dtype, stride, count, head_dim, packed);
}

inline void highway_pack_values(const void* rows, DType dtype, std::int64_t stride, std::int64_t count,
                                std::int64_t head_dim, std::int64_t padded_head_dim, float* packed) {
  HWY_EXPORT(pack_value_rows);
  HWY_DYNAMIC_DISPATCH(pack_value_rows)(rows, dtype, stride, count, head_dim, padded_head_dim, packed);
}

}  // namespace cpu

/// Attention kernel for the best instruction set of the processor that the program runs on, chosen at run time by
/// Highway: AVX-512, AVX2, SSE4 or SSSE3, NEON, or the portable kernel.
///
/// Keys and values of narrow types are widened while they are packed; both products run in fp32. Instruction sets round
/// sums of different groupings, so bits are the same on processors with the same vector length.
///
/// Highway expands foreach_target.h once in a translation unit: a source that dispatches kernels of its own in the same
/// way must not include this header.
struct HighwayAttention {
  static constexpr std::int64_t row_group = PortableAttention::row_group;

  template <Element T>
  static void pack_keys(TensorView<const T, 2> keys, float* packed) {
    cpu::highway_pack_keys(keys.data(), dtype_of<T>, keys.stride(0), keys.extent(0), keys.extent(1), packed);
  }

  template <Element T>
  static void pack_values(TensorView<const T, 2> values, std::int64_t stride, float* packed) {
    cpu::highway_pack_values(values.data(), dtype_of<T>, values.stride(0), values.extent(0), values.extent(1), stride,
                             packed);
  }

  static void append(const cpu::AttentionQuantum& quantum) { cpu::highway_append(quantum); }
};

}  // namespace ltxmem
