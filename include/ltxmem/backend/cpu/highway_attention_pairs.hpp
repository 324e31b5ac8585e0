// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

// The bf16 half of highway_attention_kernel.hpp, which includes it for the best AVX-512 target: intrinsics, because
// Highway 1.0 has no dot product of bf16 pairs. Empty when included by anybody else.
#ifdef LTXMEM_HIGHWAY_ATTENTION_PAIRS

HWY_BEFORE_NAMESPACE();
namespace ltxmem::cpu::HWY_NAMESPACE {

// A pair is two neighbours along the summed axis, channels in q . k and keys in p . v, in the 32 bits of a float. The
// instruction adds both products of a pair to one fp32 sum, so everything else is laid out as in the fp32 kernel.

/// Whether rows of this type are packed in pairs. Highway knows no name for the instruction.
inline bool takes_pairs(DType dtype) {
  static const bool available = __builtin_cpu_supports("avx512bf16") != 0;
  return dtype == DType::bf16 && available;
}

inline std::uint32_t pair_of(std::uint16_t first, std::uint16_t second) {
  return static_cast<std::uint32_t>(first) | static_cast<std::uint32_t>(second) << 16;
}

/// Channel pairs of keys; the last one of an odd head dimension is filled up with zero.
struct PairedKeys {
  const bfloat16* rows;
  std::int64_t stride;

  std::int64_t units(std::int64_t head_dim) const { return (head_dim + 1) / 2; }
  std::int64_t whole_units(std::int64_t head_dim) const { return head_dim / 2; }
  template <class D>
  HWY_INLINE hn::Vec<D> load(D d, std::int64_t key, std::int64_t unit) const {
    const hn::Repartition<std::uint16_t, D> narrow;
    return hn::BitCast(d, hn::LoadU(narrow, reinterpret_cast<const std::uint16_t*>(rows + key * stride + 2 * unit)));
  }
  float one(std::int64_t key, std::int64_t unit, std::int64_t head_dim) const {
    const bfloat16* from = rows + key * stride + 2 * unit;
    return std::bit_cast<float>(pair_of(from[0].bits, 2 * unit + 1 < head_dim ? from[1].bits : std::uint16_t{0}));
  }
};

/// [rows][channel pairs], filled up with zeros to whole groups of both kernels.
inline void pack_query_pairs(const AttentionRows& queries, float* packed) {
  const PairedKeys pairs{static_cast<const bfloat16*>(queries.data), queries.stride};
  const std::int64_t units = pairs.units(queries.head_dim);
  const std::int64_t whole = pairs.whole_units(queries.head_dim);
  for (std::int64_t r = 0; r < queries.count; ++r, packed += units) {
    std::memcpy(packed, pairs.rows + r * pairs.stride, static_cast<std::size_t>(whole) * sizeof(float));
    if (whole < units) packed[whole] = pairs.one(r, whole, queries.head_dim);
  }
  std::fill_n(packed, (round_up(queries.count, attention_row_padding) - queries.count) * units, 0.0F);
}

inline void pack_key_pairs(const AttentionRows& keys, float* packed) {
  pack_keys(PairedKeys{static_cast<const bfloat16*>(keys.data), keys.stride}, keys.count, keys.head_dim, packed);
}

/// [key pairs][width], filled up with zeros to whole matrix tiles of 16 pairs.
inline void pack_value_pairs(const AttentionRows& values, std::int64_t width, float* packed) {
  const hn::Rebind<std::uint32_t, Floats> wide;
  const hn::Rebind<std::uint16_t, Floats> narrow;
  constexpr auto step = static_cast<std::int64_t>(lanes);
  for (std::int64_t key = 0; key < values.count; key += 2, packed += width) {
    const auto* all = static_cast<const bfloat16*>(values.data);
    prefetch_rows(all, values.stride, values.head_dim, key + 16, key + 18, values.count);
    const bfloat16* first = all + key * values.stride;
    const bool both = key + 1 < values.count;
    const bfloat16* second = both ? first + values.stride : first;
    std::int64_t d = 0;
    if (both) {
      for (; d + step <= values.head_dim; d += step) {
        const auto low = hn::PromoteTo(wide, hn::LoadU(narrow, reinterpret_cast<const std::uint16_t*>(first + d)));
        const auto high = hn::PromoteTo(wide, hn::LoadU(narrow, reinterpret_cast<const std::uint16_t*>(second + d)));
        hn::Store(hn::BitCast(Floats(), hn::Or(low, hn::ShiftLeft<16>(high))), Floats(), packed + d);
      }
    }
    for (; d < values.head_dim; ++d) {
      packed[d] = std::bit_cast<float>(pair_of(first[d].bits, both ? second[d].bits : std::uint16_t{0}));
    }
    for (; d < width; ++d) packed[d] = 0.0F;
  }
  const std::int64_t pairs = (values.count + 1) / 2;
  std::fill_n(packed, (round_up(pairs, 16) - pairs) * width, 0.0F);
}

}  // namespace ltxmem::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

// What follows uses the instruction and is called on processors that have it.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace ltxmem::cpu::HWY_NAMESPACE {

/// The register tile with sums of pair products.
template <std::size_t V>
struct PairTile : Tile<V> {
  using typename Tile<V>::Rows;
  using typename Tile<V>::Columns;

  HWY_INLINE void add_products(const float* a, std::int64_t step_stride, std::int64_t row_stride, const float* b,
                               std::int64_t b_stride, std::int64_t steps) {
    for (std::int64_t step = 0; step < steps; ++step, a += step_stride, b += b_stride) {
      add_step(a, row_stride, b, Rows{}, Columns{});
    }
  }

 private:
  template <std::size_t R, std::size_t... C>
  HWY_INLINE void add_row(float a, const __m512i (&b)[V], std::index_sequence<C...>) {
    const __m512i factor = _mm512_set1_epi32(std::bit_cast<std::int32_t>(a));
    ((this->sums[R][C].raw = _mm512_dpbf16_ps(this->sums[R][C].raw, (__m512bh)factor, (__m512bh)b[C])), ...);
  }
  template <std::size_t... R, std::size_t... C>
  HWY_INLINE void add_step(const float* a, std::int64_t row_stride, const float* b, std::index_sequence<R...>,
                           std::index_sequence<C...>) {
    const __m512i row[V] = {_mm512_load_si512(b + C * lanes)...};
    (add_row<R>(a[static_cast<std::int64_t>(R) * row_stride], row, Columns{}), ...);
  }
};

/// scores [tile_rows][key_quantum] = q . k
HWY_INLINE void score_pairs(const AttentionQuantum& quantum, const float* queries, std::int64_t units) {
  for (std::int64_t key = 0; key < quantum.keys_count; key += panel_keys) {
    PairTile<tile_vectors> tile;
    tile.clear();
    tile.add_products(queries, 1, units, quantum.keys + key * units, panel_keys, units);
    tile.store(quantum.scores + key, key_quantum);
  }
}

/// Turns scores, q . k, into weights rounded to bf16; a row's pairs fill the first half of it. Scores wait for their
/// scale until the exponent, where it costs nothing; one that would turn their order round does not.
template <std::size_t rows>
HWY_INLINE void softmax_pairs(const AttentionQuantum& quantum, std::int64_t row, float (&rescale)[rows]) {
  float scale = quantum.scale;
  if (!(scale > 0.0F)) {
    for (std::size_t i = 0; i < rows * key_quantum; ++i) quantum.scores[i] *= scale;
    scale = 1.0F;
  }
  if (quantum.hides) mask_scores(quantum, row, rows, log2_e / scale);
  softmax_rows(quantum, row, scale, rescale);
  for (std::size_t r = 0; r < rows; ++r) {
    float* weights = quantum.scores + r * key_quantum;
    for (std::int64_t key = 0; key < quantum.keys_count; key += 32) {
      const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_load_ps(weights + key + 16), _mm512_load_ps(weights + key));
      _mm512_store_si512(weights + key / 2, (__m512i)pairs);
    }
  }
}

template <std::size_t V>
HWY_INLINE void accumulate_pairs(const AttentionQuantum& quantum, const float* rescale, float* accumulator,
                                 std::int64_t& column) {
  constexpr auto width = static_cast<std::int64_t>(V * lanes);
  const std::int64_t stride = quantum.padded_head_dim;
  for (; column + width <= stride; column += width) {
    PairTile<V> tile;
    tile.load(accumulator + column, stride, rescale);
    tile.add_products(quantum.scores, 1, key_quantum, quantum.values + column, stride, (quantum.keys_count + 1) / 2);
    tile.store(accumulator + column, stride);
  }
}

inline void append_pairs(const AttentionQuantum& quantum) {
  constexpr auto group = static_cast<std::int64_t>(tile_rows);
  const std::int64_t units = (quantum.head_dim + 1) / 2;
  for (std::int64_t row = 0; row < quantum.rows; row += group) {
    score_pairs(quantum, quantum.queries + row * units, units);
    float rescale[tile_rows];
    softmax_pairs(quantum, row, rescale);
    float* accumulator = quantum.accumulator + row * quantum.padded_head_dim;
    std::int64_t column = 0;
    accumulate_pairs<tile_vectors>(quantum, rescale, accumulator, column);
    accumulate_pairs<2>(quantum, rescale, accumulator, column);
    accumulate_pairs<1>(quantum, rescale, accumulator, column);
  }
}

}  // namespace ltxmem::cpu::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif  // LTXMEM_HIGHWAY_ATTENTION_PAIRS
