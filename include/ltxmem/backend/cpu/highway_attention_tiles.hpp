// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

// The bf16 kernel for processors that multiply matrix tiles (AMX), on rows packed in pairs:
// highway_attention_kernel.hpp includes it behind highway_attention_pairs.hpp. Empty when included by anybody else.
#ifdef LTXMEM_HIGHWAY_ATTENTION_PAIRS

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,amx-tile,amx-bf16")
namespace ltxmem::cpu::HWY_NAMESPACE {

/// Whole tiles only: 16 rows by 32 channels of queries and keys, 16 channels of values.
inline bool takes_tiles(const AttentionQuantum& quantum) {
  return has_matrix_tiles() && quantum.head_dim % 32 == 0;
}

// Tiles 0 to 3 are 32 x 32 sums, 4 and 5 two tiles of the first factor below each other, 6 and 7 two of the second one
// beside each other. The instructions want literal numbers, and GCC's know nothing of the memory that they read: hence
// the fences, which cost no instruction.

HWY_INLINE void store_tiles(float* to, std::int64_t stride) {
  _tile_stored(0, to, stride * 4);
  _tile_stored(1, to + 16, stride * 4);
  _tile_stored(2, to + 16 * stride, stride * 4);
  _tile_stored(3, to + 16 * stride + 16, stride * 4);
}

/// Adds the sum over pairs of a[row, pair] * b[pair, lane]; strides are in pairs.
HWY_INLINE void add_tile_products(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                                  std::int64_t pairs) {
  for (std::int64_t pair = 0; pair < pairs; pair += 16) {
    _tile_loadd(4, a + pair, a_stride * 4);
    _tile_loadd(6, b + pair * b_stride, b_stride * 4);
    _tile_loadd(7, b + pair * b_stride + 16, b_stride * 4);
    _tile_loadd(5, a + 16 * a_stride + pair, a_stride * 4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/// scores [32][key_quantum] = q . k
HWY_INLINE void score_tiles(const AttentionQuantum& quantum, const float* queries) {
  const std::int64_t units = quantum.head_dim / 2;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  for (std::int64_t key = 0; key < quantum.keys_count; key += 32) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    add_tile_products(queries, units, quantum.keys + key / panel_keys * panel_keys * units + key % panel_keys,
                      panel_keys, units);
    store_tiles(quantum.scores + key, key_quantum);
  }
}

/// accumulator = rescale * accumulator + p . v
HWY_INLINE void accumulate_tiles(const AttentionQuantum& quantum, const float (&rescale)[attention_tile_rows],
                                 float* accumulator) {
  constexpr Floats d;
  const std::int64_t stride = quantum.padded_head_dim;
  for (std::int64_t r = 0; r < attention_tile_rows; ++r) {
    if (rescale[r] == 1.0F) continue;
    const Vector factor = hn::Set(d, rescale[r]);
    float* row = accumulator + r * stride;
    for (std::int64_t column = 0; column < stride; column += 16) {
      hn::Store(hn::Mul(factor, hn::Load(d, row + column)), d, row + column);
    }
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  for (std::int64_t column = 0; column < stride; column += 32) {
    float* sums = accumulator + column;
    _tile_loadd(0, sums, stride * 4);
    _tile_loadd(1, sums + 16, stride * 4);
    _tile_loadd(2, sums + 16 * stride, stride * 4);
    _tile_loadd(3, sums + 16 * stride + 16, stride * 4);
    add_tile_products(quantum.scores, key_quantum, quantum.values + column, stride, (quantum.keys_count + 1) / 2);
    store_tiles(sums, stride);
  }
}

inline void append_tiles(const AttentionQuantum& quantum) {
  _tile_loadconfig(&whole_tiles);
  for (std::int64_t row = 0; row < quantum.rows; row += attention_tile_rows) {
    score_tiles(quantum, quantum.queries + row * quantum.head_dim / 2);
    float rescale[attention_tile_rows];
    softmax_pairs(quantum, row, rescale);
    accumulate_tiles(quantum, rescale, quantum.accumulator + row * quantum.padded_head_dim);
  }
  _tile_release();
}

inline void append_bf16(const AttentionQuantum& quantum) {
  if (takes_tiles(quantum)) return append_tiles(quantum);
  append_pairs(quantum);
}

}  // namespace ltxmem::cpu::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // LTXMEM_HIGHWAY_ATTENTION_PAIRS
