// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention/tiled_attention_suite.hpp"
#include "ltxmem/parallel/partition.hpp"

/// Cutting an attention problem over ranks and putting its results together again.

namespace ltxmem::test {

/// The rows of [N, width] that a rank holds.
template <class T>
std::vector<T> shard_of(const std::vector<T>& rows, std::int64_t width, const Partition& partition, int rank) {
  std::vector<T> shard;
  for (const Segment& segment : partition.segments(rank)) {
    const auto first = rows.begin() + segment.begin * width;
    shard.insert(shard.end(), first, first + segment.count * width);
  }
  return shard;
}

/// The rows of a rank back where they belong.
template <class T>
void put_shard(const std::vector<T>& shard, std::int64_t width, const Partition& partition, int rank,
               std::vector<T>& rows) {
  auto from = shard.begin();
  for (const Segment& segment : partition.segments(rank)) {
    std::copy_n(from, segment.count * width, rows.begin() + segment.begin * width);
    from += segment.count * width;
  }
}

/// What one rank holds of a problem, and room for its results.
template <class T>
struct Shard {
  Shard(const AttentionProblem<T>& p, const std::vector<float>& whole_gate, const Partition& queries,
        const Partition& keys, int rank)
      : q(shard_of(p.q, p.heads * p.head_dim, queries, rank)),
        k(shard_of(p.k, p.kv_heads * p.head_dim, keys, rank)),
        v(shard_of(p.v, p.kv_heads * p.head_dim, keys, rank)),
        rows(queries.count(rank)),
        key_rows(keys.count(rank)),
        heads(p.heads),
        width(p.heads * p.head_dim),
        kv_width(p.kv_heads * p.head_dim),
        keys_in_all(p.keys) {
    if (!p.mask.empty()) mask = shard_of(p.mask, p.keys, queries, rank);
    if (!whole_gate.empty()) gate = shard_of(whole_gate, p.heads, queries, rank);
    result.out.resize(q.size());
    result.lse.resize(static_cast<std::size_t>(rows * heads));
  }

  TensorView<const T, 2> q_view() const { return {q.data(), {rows, width}}; }
  TensorView<const T, 2> k_view() const { return {k.data(), {key_rows, kv_width}}; }
  TensorView<const T, 2> v_view() const { return {v.data(), {key_rows, kv_width}}; }
  TensorView<T, 2> out_view() { return {result.out.data(), {rows, width}}; }
  AttentionExtras extras() {
    AttentionExtras chosen;
    if (!gate.empty()) chosen.gate = TensorView<const float, 2>(gate.data(), {rows, heads});
    if (!mask.empty()) chosen.mask = TensorView<const float, 2>(mask.data(), {rows, keys_in_all});
    chosen.natural_lse = TensorView<float, 2>(result.lse.data(), {rows, heads});
    return chosen;
  }

  std::vector<T> q, k, v;
  std::vector<float> mask{}, gate{};
  std::int64_t rows, key_rows, heads, width, kv_width, keys_in_all;
  AttentionOutput<T> result{};
};

template <class T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> wide;
  for (const T value : values) wide.push_back(as_double(value));
  return wide;
}

}  // namespace ltxmem::test
