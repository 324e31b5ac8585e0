// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Vectors whose length is unknown at compile time cannot be members of a register tile: such targets are left out.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
// AVX-512 with the neighbouring extensions, which Highway leaves out unless asked: the target of the bf16 instructions.
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL 1
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ltxmem/backend/cpu/highway_attention_kernel.hpp"
#include <hwy/foreach_target.h>

#include "ltxmem/backend/cpu/highway_attention_kernel.hpp"

namespace ltxmem {

namespace cpu {

// HWY_EXPORT names the functions relative to this namespace and makes a table. A table local to an inline function is
// the same object in every translation unit, which one at namespace scope would not be.

inline void highway_append(const AttentionQuantum& quantum, DType dtype) {
  HWY_EXPORT(append_quantum);
  HWY_DYNAMIC_DISPATCH(append_quantum)(quantum, dtype);
}

inline void highway_pack_queries(const AttentionRows& rows, float scale, float* packed) {
  HWY_EXPORT(pack_query_rows);
  HWY_DYNAMIC_DISPATCH(pack_query_rows)(rows, scale, packed);
}

inline void highway_pack_keys(const AttentionRows& rows, float* packed) {
  HWY_EXPORT(pack_key_rows);
  HWY_DYNAMIC_DISPATCH(pack_key_rows)(rows, packed);
}

inline void highway_pack_values(const AttentionRows& rows, std::int64_t width, float* packed) {
  HWY_EXPORT(pack_value_rows);
  HWY_DYNAMIC_DISPATCH(pack_value_rows)(rows, width, packed);
}

}  // namespace cpu

/// Attention kernel for the best instruction set of the processor that the program runs on, chosen at run time by
/// Highway: AVX-512, AVX2, SSE4 or SSSE3, NEON, or the portable kernel.
///
/// Numerics  narrow types are widened while they are packed and both products run in fp32, except bf16 on processors
///           with its dot product or, for heads of a multiple of 32 channels, with matrix tiles (AMX): there the
///           products of bf16 pairs are summed in fp32, and the weights 2^(logit - m) are rounded to bf16. Processors
///           that take the same path give the same bits
///
/// Highway expands foreach_target.h once in a translation unit: a source that dispatches kernels of its own in the same
/// way must not include this header.
struct HighwayAttention {
  template <Element T>
  static void pack_queries(TensorView<const T, 2> queries, float scale, float* packed) {
    cpu::highway_pack_queries(rows_of(queries), scale, packed);
  }
  template <Element T>
  static void pack_keys(TensorView<const T, 2> keys, float* packed) {
    cpu::highway_pack_keys(rows_of(keys), packed);
  }
  template <Element T>
  static void pack_values(TensorView<const T, 2> values, std::int64_t width, float* packed) {
    cpu::highway_pack_values(rows_of(values), width, packed);
  }
  template <Element T>
  static void append(const cpu::AttentionQuantum& quantum) {
    cpu::highway_append(quantum, dtype_of<T>);
  }

 private:
  template <Element T>
  static cpu::AttentionRows rows_of(TensorView<const T, 2> view) {
    return {view.data(), dtype_of<T>, view.stride(0), view.extent(0), view.extent(1)};
  }
};

}  // namespace ltxmem
