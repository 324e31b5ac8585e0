// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "ltxmem/backend/cpu/attention.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/attention_reference.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

/// What every attention kernel of the CPU must do, on the operations themselves.

namespace ltxmem::test {

/// How a problem is cut: query rows per append, keys per append (whole quanta), threads.
struct AttentionCut {
  std::int64_t query_tile = 1 << 30;
  std::int64_t key_tile = 1 << 30;
  int threads = 1;
};

/// A state in memory of its own.
struct AttentionMemory {
  std::vector<float> accumulator, maximum, sum;
  SoftmaxStateView view;

  AttentionMemory(std::int64_t rows, std::int64_t heads, std::int64_t head_dim)
      : accumulator(static_cast<std::size_t>(rows * heads * head_dim), 7.0F),
        maximum(static_cast<std::size_t>(rows * heads), 7.0F),
        sum(static_cast<std::size_t>(rows * heads), 7.0F),
        view{{accumulator.data(), {rows, heads * head_dim}},
             {maximum.data(), {rows, heads}},
             {sum.data(), {rows, heads}}} {}
};

/// Appends a tile in the portions of the cut, each with an arena of exactly the size the formula says.
template <class Kernel, class T>
void append_in_portions(ThreadPool& pool, const AttentionTile<T>& whole, SoftmaxStateView state,
                        const AttentionCut& cut) {
  HostResource memory;
  for (std::int64_t row = 0; row < whole.q.extent(0); row += cut.query_tile) {
    const std::int64_t rows = std::min(cut.query_tile, whole.q.extent(0) - row);
    for (std::int64_t key = 0; key < whole.k.extent(0); key += cut.key_tile) {
      const std::int64_t keys = std::min(cut.key_tile, whole.k.extent(0) - key);
      AttentionTile<T> part = whole;
      part.q = whole.q.rows(row, rows);
      part.k = whole.k.rows(key, keys);
      part.v = whole.v.rows(key, keys);
      part.query_begin += row;
      part.key_begin += key;
      if (!whole.mask.empty()) part.mask = whole.mask.rows(row, rows).columns(key, keys);
      Arena arena(memory, cpu::attention_workspace_bytes(pool.threads(), part));
      cpu::attention_append<Kernel>(pool, part, state.rows(row, rows), arena);
      CHECK(arena.peak_bytes() == arena.capacity_bytes());
    }
  }
}

template <class Kernel, class T>
AttentionOutput<T> run_attention(const AttentionProblem<T>& p, const AttentionCut& cut = {},
                                 const std::vector<float>& gate = {}) {
  ThreadPool pool(cut.threads);
  AttentionMemory state(p.queries, p.heads, p.head_dim);
  cpu::attention_reset(pool, state.view);
  append_in_portions<Kernel>(pool, tile_of(p), state.view, cut);
  AttentionOutput<T> result;
  result.out.resize(p.q.size());
  result.lse.resize(static_cast<std::size_t>(p.queries * p.heads));
  const Extents<2> per_head{p.queries, p.heads};
  cpu::attention_finalize<T>(
      pool, state.view, gate.empty() ? TensorView<const float, 2>() : TensorView<const float, 2>(gate.data(), per_head),
      {result.out.data(), {p.queries, p.heads * p.head_dim}}, {result.lse.data(), per_head});
  return result;
}

/// A problem with several quanta and odd ends everywhere.
template <class T>
AttentionProblem<T> uneven_problem(std::int64_t head_dim = 20, std::int64_t queries = 259) {
  AttentionProblem<T> p{.queries = queries, .keys = 700, .heads = 4, .kv_heads = 2, .head_dim = head_dim};
  return p.randomise(11);
}

template <class Kernel, class T>
void attention_matches_double_precision() {
  struct Shape {
    std::int64_t queries, keys, heads, kv_heads, head_dim;
  };
  for (const Shape& s : {Shape{1, 1, 1, 1, 1}, Shape{1, 300, 2, 1, 16}, Shape{7, 5, 2, 2, 3}, Shape{6, 256, 1, 1, 64},
                         Shape{130, 513, 2, 2, 80}, Shape{200, 257, 6, 2, 8}, Shape{33, 70, 1, 1, 256},
                         Shape{5, 40, 1, 1, 300}, Shape{20, 600, 2, 1, 128}}) {
    AttentionProblem<T> p{
        .queries = s.queries, .keys = s.keys, .heads = s.heads, .kv_heads = s.kv_heads, .head_dim = s.head_dim};
    p.randomise(static_cast<std::uint32_t>(s.queries));
    CAPTURE(s.queries, s.keys, s.heads, s.kv_heads, s.head_dim);
    check_against_reference(p, run_attention<Kernel>(p));
  }
}

template <class Kernel, class T>
void attention_hides_what_it_must(std::int64_t head_dim = 20) {
  struct Case {
    std::int64_t window, query_begin;
  };
  // Windows that end at, before and behind the border of a quantum; queries that see everything, and nothing at all.
  for (const Case& c : {Case{0, 0}, Case{0, 256}, Case{0, 1000}, Case{1, 0}, Case{1, 1000}, Case{2, 256},
                        Case{100, 256}, Case{300, 0}, Case{300, 600}}) {
    AttentionProblem<T> p = uneven_problem<T>(head_dim);
    p.causal = true;
    p.window = c.window;
    p.query_begin = c.query_begin;
    CAPTURE(c.window, c.query_begin);
    if (c.window == 100) p.randomise_mask(5);
    check_against_reference(p, run_attention<Kernel>(p));
  }
}

template <class Kernel, class T>
void attention_adds_masks(std::int64_t head_dim = 20) {
  AttentionProblem<T> p = uneven_problem<T>(head_dim);
  p.randomise_mask(8);
  for (std::int64_t key = 0; key < p.keys; ++key) p.mask[static_cast<std::size_t>(3 * p.keys + key)] = -INFINITY;
  const AttentionOutput<T> got = run_attention<Kernel>(p);
  check_against_reference(p, got);
  for (std::int64_t i = 0; i < p.heads * p.head_dim; ++i) {
    CHECK(as_double(got.out[static_cast<std::size_t>(3 * p.heads * p.head_dim + i)]) == 0.0);
  }

  // One row of masks for all queries: a view that does not move from row to row.
  AttentionTile<T> tile = tile_of(p);
  tile.mask = {p.mask.data(), {p.queries, p.keys}, {0, 1}};
  AttentionProblem<T> repeated = p;
  for (std::int64_t n = 1; n < p.queries; ++n) {
    std::copy_n(p.mask.begin(), p.keys, repeated.mask.begin() + n * p.keys);
  }
  ThreadPool pool(1);
  AttentionMemory narrow(p.queries, p.heads, p.head_dim);
  AttentionMemory wide(p.queries, p.heads, p.head_dim);
  cpu::attention_reset(pool, narrow.view);
  cpu::attention_reset(pool, wide.view);
  append_in_portions<Kernel>(pool, tile, narrow.view, {});
  append_in_portions<Kernel>(pool, tile_of(repeated), wide.view, {});
  CHECK(same_bits(narrow.accumulator, wide.accumulator));
  CHECK(same_bits(narrow.sum, wide.sum));
}

template <class Kernel, class T>
void attention_keeps_its_bits_however_it_is_cut(std::int64_t head_dim = 20,
                                                std::int64_t queries = cpu::attention_block_rows + 3) {
  for (const bool causal : {false, true}) {
    for (const bool masked : {false, true}) {
      AttentionProblem<T> p = uneven_problem<T>(head_dim, queries);
      p.causal = causal;
      p.window = causal && masked ? 290 : 0;
      p.query_begin = causal ? 256 : 0;
      if (masked) p.randomise_mask(21);
      const AttentionOutput<T> whole = run_attention<Kernel>(p);
      CAPTURE(causal, masked);
      for (const AttentionCut& cut :
           {AttentionCut{.key_tile = 256}, AttentionCut{.key_tile = 512}, AttentionCut{.query_tile = 256},
            AttentionCut{.query_tile = 1}, AttentionCut{.query_tile = 100, .key_tile = 256}, AttentionCut{.threads = 2},
            AttentionCut{.threads = 3}, AttentionCut{.query_tile = 64, .key_tile = 512, .threads = 8}}) {
        CAPTURE(cut.query_tile, cut.key_tile, cut.threads);
        CHECK(same_bits(run_attention<Kernel>(p, cut), whole));
      }
    }
  }
}

/// A row's bits do not depend on the rows beside it.
template <class Kernel, class T>
void attention_rows_ignore_their_neighbours(std::int64_t head_dim = 20) {
  AttentionProblem<T> p = uneven_problem<T>(head_dim);
  p.randomise_mask(2);
  const AttentionOutput<T> before = run_attention<Kernel>(p);
  const std::int64_t width = p.heads * p.head_dim;
  const std::int64_t kept = 130;
  for (std::int64_t i = 0; i < p.queries * width; ++i) {
    if (i / width != kept) p.q[static_cast<std::size_t>(i)] = static_cast<T>(30.0F);
  }
  for (std::int64_t i = 0; i < p.queries * p.keys; ++i) {
    if (i / p.keys != kept) p.mask[static_cast<std::size_t>(i)] = -INFINITY;
  }
  const AttentionOutput<T> after = run_attention<Kernel>(p);
  const auto row = [&](const AttentionOutput<T>& from) {
    return std::vector<T>(from.out.begin() + kept * width, from.out.begin() + (kept + 1) * width);
  };
  CHECK(same_bits(row(before), row(after)));
  CHECK_FALSE(same_bits(before.out, after.out));
}

/// Quanta without a visible key leave no trace, whether they are skipped or masked away.
template <class Kernel, class T>
void attention_hidden_quanta_change_no_bit() {
  AttentionProblem<T> some{.queries = 70, .keys = 256, .heads = 2, .kv_heads = 2, .head_dim = 16};
  some.randomise(4);
  AttentionProblem<T> more = some;
  more.keys = 768;
  const std::vector<T> rest = random_values<T>(512 * 32, 99);
  more.k.insert(more.k.end(), rest.begin(), rest.end());
  more.v.insert(more.v.end(), rest.begin(), rest.end());
  more.mask.assign(static_cast<std::size_t>(more.queries * more.keys), 0.0F);
  for (std::size_t i = 0; i < more.mask.size(); ++i) {
    if (i % 768 >= 256) more.mask[i] = -std::numeric_limits<float>::infinity();
  }
  CHECK(same_bits(run_attention<Kernel>(some), run_attention<Kernel>(more)));

  some.causal = true;
  more.mask.clear();
  more.causal = true;
  CHECK(same_bits(run_attention<Kernel>(some), run_attention<Kernel>(more)));
}

template <class Kernel, class T>
void attention_survives_large_logits() {
  AttentionProblem<T> p{.queries = 9, .keys = 520, .heads = 1, .kv_heads = 1, .head_dim = 16};
  p.randomise(6);
  for (T& value : p.q) value = static_cast<T>(as_double(value) < 0.0 ? -25.0F : 25.0F);
  for (std::size_t i = 0; i < p.k.size(); ++i) {
    p.k[i] = static_cast<T>((i / 16) % 2 == 0 ? 25.0F : -25.0F);
  }
  p.scale = 1.0F;  // q.k reaches 16 * 625 = 1e4 both ways
  for (std::size_t i = 0; i < 16; ++i) p.q[i] = static_cast<T>(25.0F);
  const AttentionOutput<T> got = run_attention<Kernel>(p);
  for (const T value : got.out) CHECK(std::isfinite(as_double(value)));
  CHECK(got.lse[0] > 1e4F);
  CHECK(got.lse[0] < 1.001e4F);
  check_against_reference(p, got);
}

/// Scales that turn the order of the logits round or make them all equal, masked and not.
template <class Kernel, class T>
void attention_takes_any_scale(std::int64_t head_dim) {
  for (const float scale : {-0.2F, 0.0F}) {
    AttentionProblem<T> p = uneven_problem<T>(head_dim);
    p.scale = scale;
    CAPTURE(scale);
    check_against_reference(p, run_attention<Kernel>(p));
    p.randomise_mask(3);
    check_against_reference(p, run_attention<Kernel>(p));
  }
}

template <class Kernel, class T>
void attention_reads_strided_rows(std::int64_t head_dim = 20) {
  const AttentionProblem<T> p = uneven_problem<T>(head_dim);
  const auto spread = [](TensorView<const T, 2> dense, std::vector<T>& memory) {
    const std::int64_t stride = dense.extent(1) + 5;
    memory.assign(static_cast<std::size_t>(dense.extent(0) * stride), static_cast<T>(1e3F));
    const TensorView<T, 2> wide(memory.data(), dense.extents(), {stride, 1});
    for (std::int64_t i = 0; i < dense.extent(0); ++i) {
      for (std::int64_t j = 0; j < dense.extent(1); ++j) wide(i, j) = dense(i, j);
    }
    return TensorView<const T, 2>(wide);
  };
  AttentionTile<T> tile = tile_of(p);
  std::vector<T> q;
  std::vector<T> k;
  std::vector<T> v;
  AttentionTile<T> strided = tile;
  strided.q = spread(tile.q, q);
  strided.k = spread(tile.k, k);
  strided.v = spread(tile.v, v);
  ThreadPool pool(1);
  AttentionMemory a(p.queries, p.heads, p.head_dim);
  AttentionMemory b(p.queries, p.heads, p.head_dim);
  cpu::attention_reset(pool, a.view);
  cpu::attention_reset(pool, b.view);
  append_in_portions<Kernel>(pool, tile, a.view, {});
  append_in_portions<Kernel>(pool, strided, b.view, {});
  CHECK(same_bits(a.accumulator, b.accumulator));
  CHECK(same_bits(a.maximum, b.maximum));
}

template <class Kernel, class T>
void attention_without_keys_leaves_the_state() {
  AttentionProblem<T> p{.queries = 5, .keys = 0, .heads = 2, .kv_heads = 1, .head_dim = 4};
  p.randomise(1);
  const AttentionOutput<T> got = run_attention<Kernel>(p);
  for (const T value : got.out) CHECK(as_double(value) == 0.0);
  for (const float value : got.lse) CHECK(value == -std::numeric_limits<float>::infinity());
  CHECK(cpu::attention_workspace_bytes(3, tile_of(p)) == 0);
}

}  // namespace ltxmem::test
