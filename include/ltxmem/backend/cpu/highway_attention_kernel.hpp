// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

// The functions behind HighwayAttention, compiled once for every instruction set that Highway can choose at run time.
// highway_attention.hpp has Highway include this file that many times, hence the toggle instead of #pragma once.
#if defined(LTXMEM_HIGHWAY_ATTENTION_TOGGLE) == defined(HWY_TARGET_TOGGLE)
#ifdef LTXMEM_HIGHWAY_ATTENTION_TOGGLE
#undef LTXMEM_HIGHWAY_ATTENTION_TOGGLE
#else
#define LTXMEM_HIGHWAY_ATTENTION_TOGGLE
#endif

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "ltxmem/backend/cpu/amx_tiles.hpp"
#include "ltxmem/backend/cpu/attention_kernel.hpp"
#include "ltxmem/backend/cpu/portable_attention.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/math/softmax_state.hpp"

HWY_BEFORE_NAMESPACE();
namespace ltxmem::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

// Without vectors of a known kind the portable kernel is the better one.

inline void append_widened(const AttentionQuantum& quantum) {
  PortableAttention::append<float>(quantum);
}

template <class T>
void pack_keys_of(const T* keys, const AttentionRows& rows, float* packed) {
  PortableAttention::pack_keys(TensorView<const T, 2>(keys, {rows.count, rows.head_dim}, {rows.stride, 1}), packed);
}

template <class T>
void pack_values_of(const T* values, const AttentionRows& rows, std::int64_t width, float* packed) {
  PortableAttention::pack_values(TensorView<const T, 2>(values, {rows.count, rows.head_dim}, {rows.stride, 1}), width,
                                 packed);
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, static_cast<std::size_t>(attention_lanes)>;
using Vector = hn::Vec<Floats>;
inline constexpr std::size_t lanes = hn::MaxLanes(Floats());

/// Register tile: tile_rows x tile_vectors sums fill the register file and leave room for one row of the second factor
/// and a broadcast. 32 registers with AVX-512, 16 before.
inline constexpr std::size_t tile_rows = attention_row_group;
inline constexpr std::size_t tile_vectors = lanes == 16 ? 4 : 2;
inline constexpr std::int64_t panel_keys = static_cast<std::int64_t>(tile_vectors * lanes);

// ------------------------------------------------------------------------------------------------------------ packing

template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const bfloat16* from) {
  const hn::Rebind<std::uint32_t, D> wide;
  const hn::Rebind<std::uint16_t, D> narrow;
  const auto bits = hn::LoadU(narrow, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, bits)));
}
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const half* from) {
  const hn::Rebind<std::uint16_t, D> narrow;
  const hn::Rebind<hwy::float16_t, D> halves;
  const auto bits = hn::LoadU(narrow, reinterpret_cast<const std::uint16_t*>(from));
  return hn::PromoteTo(d, hn::BitCast(halves, bits));
}

/// Keys of T as floats, one unit per channel.
template <class T>
struct WidenedKeys {
  const T* rows;
  std::int64_t stride;

  std::int64_t units(std::int64_t head_dim) const { return head_dim; }
  std::int64_t whole_units(std::int64_t head_dim) const { return head_dim; }
  template <class D>
  HWY_INLINE hn::Vec<D> load(D d, std::int64_t key, std::int64_t unit) const {
    return load_floats(d, rows + key * stride + unit);
  }
  float one(std::int64_t key, std::int64_t unit, std::int64_t) const {
    return static_cast<float>(rows[key * stride + unit]);
  }
};

/// Asks for rows [begin, end) of one head, as far as there are that many. Rows of a head lie a page or more apart,
/// where the processor does not foresee them, and many of them share few places of the first-level cache.
template <class T>
HWY_INLINE void prefetch_rows(const T* rows, std::int64_t stride, std::int64_t head_dim, std::int64_t begin,
                              std::int64_t end, std::int64_t count) {
  constexpr auto line = static_cast<std::int64_t>(64 / sizeof(T));
  for (std::int64_t row = begin; row < end && row < count; ++row) {
    for (std::int64_t d = 0; d < head_dim; d += line) hwy::Prefetch(rows + row * stride + d);
  }
}

/// A vector of four-unit blocks: block b holds units [unit, unit + 4) of key + 4 b.
template <class D, class Keys>
HWY_INLINE hn::Vec<D> load_blocks(D d, const Keys& keys, std::int64_t key, std::int64_t unit) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return keys.load(d, key, unit);
  } else {
    constexpr hn::Half<D> half;
    const auto lower = load_blocks(half, keys, key, unit);
    const auto upper = load_blocks(half, keys, key + static_cast<std::int64_t>(hn::MaxLanes(half)), unit);
    return hn::Combine(d, upper, lower);
  }
}

/// Panels of panel_keys keys, as many as hold `count`, a panel being [units][panel_keys]. As many keys as a vector has
/// lanes are transposed in registers, four units at a time; missing keys become zeros.
template <class Keys>
void pack_keys(const Keys& keys, std::int64_t count, std::int64_t head_dim, float* packed) {
  constexpr Floats d;
  constexpr hn::Repartition<std::uint64_t, Floats> wide;
  constexpr auto step = static_cast<std::int64_t>(lanes);
  const std::int64_t units = keys.units(head_dim);
  for (std::int64_t key = 0; key < round_up(count, panel_keys); key += step) {
    float* to = packed + key / panel_keys * panel_keys * units + key % panel_keys;
    prefetch_rows(keys.rows, keys.stride, head_dim, key + step, key + 2 * step, count);
    std::int64_t unit = 0;
    if (key + step <= count) {
      for (; unit + 4 <= keys.whole_units(head_dim); unit += 4) {
        const auto row0 = load_blocks(d, keys, key, unit);
        const auto row1 = load_blocks(d, keys, key + 1, unit);
        const auto row2 = load_blocks(d, keys, key + 2, unit);
        const auto row3 = load_blocks(d, keys, key + 3, unit);
        const auto low01 = hn::BitCast(wide, hn::InterleaveLower(d, row0, row1));
        const auto low23 = hn::BitCast(wide, hn::InterleaveLower(d, row2, row3));
        const auto high01 = hn::BitCast(wide, hn::InterleaveUpper(d, row0, row1));
        const auto high23 = hn::BitCast(wide, hn::InterleaveUpper(d, row2, row3));
        hn::Store(hn::BitCast(d, hn::InterleaveLower(wide, low01, low23)), d, to + unit * panel_keys);
        hn::Store(hn::BitCast(d, hn::InterleaveUpper(wide, low01, low23)), d, to + (unit + 1) * panel_keys);
        hn::Store(hn::BitCast(d, hn::InterleaveLower(wide, high01, high23)), d, to + (unit + 2) * panel_keys);
        hn::Store(hn::BitCast(d, hn::InterleaveUpper(wide, high01, high23)), d, to + (unit + 3) * panel_keys);
      }
    }
    for (; unit < units; ++unit) {
      for (std::int64_t i = 0; i < step; ++i) {
        to[unit * panel_keys + i] = key + i < count ? keys.one(key + i, unit, head_dim) : 0.0F;
      }
    }
  }
}

template <class T>
void pack_keys_of(const T* keys, const AttentionRows& rows, float* packed) {
  pack_keys(WidenedKeys<T>{keys, rows.stride}, rows.count, rows.head_dim, packed);
}

template <class T>
void pack_values_of(const T* values, const AttentionRows& rows, std::int64_t width, float* packed) {
  constexpr Floats all;
  constexpr auto step = static_cast<std::int64_t>(lanes);
  for (std::int64_t key = 0; key < rows.count; ++key, packed += width) {
    prefetch_rows(values, rows.stride, rows.head_dim, key + 16, key + 17, rows.count);
    const T* from = values + key * rows.stride;
    std::int64_t d = 0;
    for (; d + step <= rows.head_dim; d += step) hn::Store(load_floats(all, from + d), all, packed + d);
    for (; d < rows.head_dim; ++d) packed[d] = static_cast<float>(from[d]);
    for (; d < width; ++d) packed[d] = 0.0F;
  }
}

// ----------------------------------------------------------------------------------------------------- the two
// products

/// tile_rows x V sums. Indices are constants everywhere (folds, no loops): compilers keep the sums in registers then.
template <std::size_t V>
struct Tile {
  using Rows = std::make_index_sequence<tile_rows>;
  using Columns = std::make_index_sequence<V>;

  Vector sums[tile_rows][V];

  HWY_INLINE void clear() { clear_rows(Rows{}); }
  HWY_INLINE void load(const float* from, std::int64_t stride, const float* factor) {
    load_rows(from, stride, factor, Rows{});
  }
  HWY_INLINE void store(float* to, std::int64_t stride) const { store_rows(to, stride, Rows{}); }

  /// Adds the sum over steps of a[step, row] * b[step, lane].
  HWY_INLINE void add_products(const float* a, std::int64_t step_stride, std::int64_t row_stride, const float* b,
                               std::int64_t b_stride, std::int64_t steps) {
    for (std::int64_t step = 0; step < steps; ++step, a += step_stride, b += b_stride) {
      add_step(a, row_stride, b, Rows{}, Columns{});
    }
  }

 private:
  template <std::size_t R, std::size_t... C>
  HWY_INLINE void clear_row(std::index_sequence<C...>) {
    ((sums[R][C] = hn::Zero(Floats())), ...);
  }
  template <std::size_t... R>
  HWY_INLINE void clear_rows(std::index_sequence<R...>) {
    (clear_row<R>(Columns{}), ...);
  }

  template <std::size_t R, std::size_t... C>
  HWY_INLINE void load_row(const float* from, float factor, std::index_sequence<C...>) {
    const Vector scale = hn::Set(Floats(), factor);
    ((sums[R][C] = hn::Mul(scale, hn::Load(Floats(), from + C * lanes))), ...);
  }
  template <std::size_t... R>
  HWY_INLINE void load_rows(const float* from, std::int64_t stride, const float* factor, std::index_sequence<R...>) {
    (load_row<R>(from + static_cast<std::int64_t>(R) * stride, factor[R], Columns{}), ...);
  }

  template <std::size_t R, std::size_t... C>
  HWY_INLINE void store_row(float* to, std::index_sequence<C...>) const {
    (hn::Store(sums[R][C], Floats(), to + C * lanes), ...);
  }
  template <std::size_t... R>
  HWY_INLINE void store_rows(float* to, std::int64_t stride, std::index_sequence<R...>) const {
    (store_row<R>(to + static_cast<std::int64_t>(R) * stride, Columns{}), ...);
  }

  template <std::size_t R, std::size_t... C>
  HWY_INLINE void add_row(float a, const Vector (&b)[V], std::index_sequence<C...>) {
    const Vector factor = hn::Set(Floats(), a);
    ((sums[R][C] = hn::MulAdd(factor, b[C], sums[R][C])), ...);
  }
  template <std::size_t... R, std::size_t... C>
  HWY_INLINE void add_step(const float* a, std::int64_t row_stride, const float* b, std::index_sequence<R...>,
                           std::index_sequence<C...>) {
    const Vector row[V] = {hn::Load(Floats(), b + C * lanes)...};
    (add_row<R>(a[static_cast<std::int64_t>(R) * row_stride], row, Columns{}), ...);
  }
};

/// scores [tile_rows][key_quantum] = q . k
HWY_INLINE void score(const AttentionQuantum& quantum, const float* queries) {
  for (std::int64_t key = 0; key < quantum.keys_count; key += panel_keys) {
    Tile<tile_vectors> tile;
    tile.clear();
    tile.add_products(queries, 1, quantum.head_dim, quantum.keys + key * quantum.head_dim, panel_keys,
                      quantum.head_dim);
    tile.store(quantum.scores + key, key_quantum);
  }
}

/// accumulator = rescale * accumulator + p . v for the columns from `column` on that V vectors cover as a whole.
template <std::size_t V>
HWY_INLINE void accumulate(const AttentionQuantum& quantum, const float* rescale, float* accumulator,
                           std::int64_t& column) {
  constexpr auto width = static_cast<std::int64_t>(V * lanes);
  const std::int64_t stride = quantum.padded_head_dim;
  for (; column + width <= stride; column += width) {
    Tile<V> tile;
    tile.load(accumulator + column, stride, rescale);
    tile.add_products(quantum.scores, 1, key_quantum, quantum.values + column, stride, quantum.keys_count);
    tile.store(accumulator + column, stride);
  }
}

// ------------------------------------------------------------------------------------------------------------- softmax

/// exp2_nonpositive on a vector.
HWY_INLINE Vector exp2_vector(Vector x) {
  constexpr Floats d;
  const hn::RebindToUnsigned<Floats> u;
  const Vector shift = hn::Set(d, exp2_shift);
  const Vector clamped = hn::Max(x, hn::Set(d, exp2_floor));
  const Vector shifted = hn::Add(clamped, shift);
  const Vector f = hn::Sub(clamped, hn::Sub(shifted, shift));
  Vector value = hn::Set(d, exp2_coefficients[0]);
  value = hn::MulAdd(value, f, hn::Set(d, exp2_coefficients[1]));
  value = hn::MulAdd(value, f, hn::Set(d, exp2_coefficients[2]));
  value = hn::MulAdd(value, f, hn::Set(d, exp2_coefficients[3]));
  value = hn::MulAdd(value, f, hn::Set(d, exp2_coefficients[4]));
  value = hn::MulAdd(value, f, hn::Set(d, exp2_coefficients[5]));
  value = hn::MulAdd(value, f, hn::Set(d, 1.0F));
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::BitCast(u, shifted), hn::Set(u, 127U)));
  return hn::Mul(value, hn::BitCast(d, exponent));
}

HWY_INLINE float highest_of(const float* scores, std::int64_t count) {
  constexpr Floats d;
  constexpr auto step = static_cast<std::int64_t>(lanes);
  Vector highest0 = hn::Load(d, scores);
  Vector highest1 = hn::Load(d, scores + step);
  for (std::int64_t key = 2 * step; key < count; key += 2 * step) {
    highest0 = hn::Max(highest0, hn::Load(d, scores + key));
    highest1 = hn::Max(highest1, hn::Load(d, scores + key + step));
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(highest0, highest1)));
}

/// Turns the first `count` scores of a row into weights 2^(scale * score - base) and returns their sum.
HWY_INLINE float exponentiate(float* scores, std::int64_t count, float scale, float base) {
  constexpr Floats d;
  constexpr auto step = static_cast<std::int64_t>(lanes);
  const Vector scales = hn::Set(d, scale);
  const Vector bases = hn::Set(d, base);
  Vector sum0 = hn::Zero(d);
  Vector sum1 = hn::Zero(d);
  for (std::int64_t key = 0; key < count; key += 2 * step) {
    const Vector p0 = exp2_vector(hn::MulSub(scales, hn::Load(d, scores + key), bases));
    const Vector p1 = exp2_vector(hn::MulSub(scales, hn::Load(d, scores + key + step), bases));
    hn::Store(p0, d, scores + key);
    hn::Store(p1, d, scores + key + step);
    sum0 = hn::Add(sum0, p0);
    sum1 = hn::Add(sum1, p1);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
}

/// Turns the scores of rows [row, row + rows) into weights 2^(scale * score - maximum), updates the state of the rows
/// and gives the factors of what was accumulated before. Keys that fill up the last two vectors are hidden ones. Each
/// step is taken for all rows before the next one: within a row they wait for each other.
template <std::size_t rows>
HWY_INLINE void softmax_rows(const AttentionQuantum& quantum, std::int64_t row, float scale, float (&rescale)[rows]) {
  float* maximum = quantum.maximum + row;
  float* sum = quantum.sum + row;
  float highest[rows];
  for (std::size_t r = 0; r < rows; ++r) {
    highest[r] = scale * highest_of(quantum.scores + r * key_quantum, quantum.keys_count);
  }
  float base[rows];
  for (std::size_t r = 0; r < rows; ++r) {
    const float before = maximum[r];
    maximum[r] = before < highest[r] ? highest[r] : before;
    base[r] = softmax_base(maximum[r]);
    rescale[r] = softmax_rescale(before, maximum[r]);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    sum[r] = sum[r] * rescale[r] + exponentiate(quantum.scores + r * key_quantum, quantum.keys_count, scale, base[r]);
  }
}

inline void append_widened(const AttentionQuantum& quantum) {
  constexpr auto group = static_cast<std::int64_t>(tile_rows);
  for (std::int64_t row = 0; row < quantum.rows; row += group) {
    score(quantum, quantum.queries + row * quantum.head_dim);
    if (quantum.hides) mask_scores(quantum, row, group, log2_e);
    float rescale[tile_rows];
    softmax_rows(quantum, row, 1.0F, rescale);
    float* accumulator = quantum.accumulator + row * quantum.padded_head_dim;
    std::int64_t column = 0;
    accumulate<tile_vectors>(quantum, rescale, accumulator, column);
    accumulate<2>(quantum, rescale, accumulator, column);
    accumulate<1>(quantum, rescale, accumulator, column);
  }
}

#endif  // HWY_TARGET

}  // namespace ltxmem::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_TARGET == HWY_AVX3_DL
#define LTXMEM_HIGHWAY_ATTENTION_PAIRS
#include "ltxmem/backend/cpu/highway_attention_pairs.hpp"
#include "ltxmem/backend/cpu/highway_attention_tiles.hpp"
#undef LTXMEM_HIGHWAY_ATTENTION_PAIRS
#endif

HWY_BEFORE_NAMESPACE();
namespace ltxmem::cpu::HWY_NAMESPACE {

#if HWY_TARGET != HWY_AVX3_DL

// No products of bf16 pairs: nothing is packed for them.
inline bool takes_pairs(DType) {
  return false;
}
inline void pack_query_pairs(const AttentionRows&, float*) {}
inline void pack_key_pairs(const AttentionRows&, float*) {}
inline void pack_value_pairs(const AttentionRows&, std::int64_t, float*) {}
inline void append_bf16(const AttentionQuantum&) {}

#endif

// ------------------------------------------------------------------------------------------------------- entry points

/// Calls fn with a pointer of the type behind the name; only element types arrive here.
template <class Fn>
HWY_INLINE void with_rows(const AttentionRows& rows, const Fn& fn) {
  switch (rows.dtype) {
    case DType::f32: return fn(static_cast<const float*>(rows.data));
    case DType::bf16: return fn(static_cast<const bfloat16*>(rows.data));
    default: return fn(static_cast<const half*>(rows.data));
  }
}

inline void pack_query_rows(const AttentionRows& rows, float scale, float* packed) {
  if (takes_pairs(rows.dtype)) return pack_query_pairs(rows, packed);
  with_rows(rows, [&](const auto* queries) {
    using T = std::remove_cvref_t<decltype(*queries)>;
    pack_scaled_queries(TensorView<const T, 2>(queries, {rows.count, rows.head_dim}, {rows.stride, 1}), scale, packed);
  });
}

inline void pack_key_rows(const AttentionRows& rows, float* packed) {
  if (takes_pairs(rows.dtype)) return pack_key_pairs(rows, packed);
  with_rows(rows, [&](const auto* keys) HWY_ATTR { pack_keys_of(keys, rows, packed); });
}

inline void pack_value_rows(const AttentionRows& rows, std::int64_t width, float* packed) {
  if (takes_pairs(rows.dtype)) return pack_value_pairs(rows, width, packed);
  with_rows(rows, [&](const auto* values) HWY_ATTR { pack_values_of(values, rows, width, packed); });
}

inline void append_quantum(const AttentionQuantum& quantum, DType dtype) {
  if (takes_pairs(dtype)) return append_bf16(quantum);
  append_widened(quantum);
}

}  // namespace ltxmem::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // LTXMEM_HIGHWAY_ATTENTION_TOGGLE
