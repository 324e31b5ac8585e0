// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/backend/cpu/attention.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <stop_token>
#include <vector>

#include "backend/cpu/attention_suite.hpp"

namespace ltxmem {
namespace {

using Kernel = PortableAttention;

TEMPLATE_TEST_CASE("portable attention matches double precision", "[attention]", float, bfloat16, half) {
  test::attention_matches_double_precision<Kernel, TestType>();
}
TEMPLATE_TEST_CASE("portable attention is causal and keeps to its window", "[attention]", float, bfloat16) {
  test::attention_hides_what_it_must<Kernel, TestType>();
}
TEMPLATE_TEST_CASE("portable attention adds masks, infinite ones too", "[attention]", float, bfloat16) {
  test::attention_adds_masks<Kernel, TestType>();
}
TEMPLATE_TEST_CASE("portable attention gives the same bits for every cut and thread count", "[attention]", float,
                   bfloat16) {
  test::attention_keeps_its_bits_however_it_is_cut<Kernel, TestType>();
}
TEST_CASE("portable attention rows ignore their neighbours", "[attention]") {
  test::attention_rows_ignore_their_neighbours<Kernel, float>();
}
TEST_CASE("portable attention: hidden quanta change no bit", "[attention]") {
  test::attention_hidden_quanta_change_no_bit<Kernel, float>();
}
TEMPLATE_TEST_CASE("portable attention survives logits of ten thousand", "[attention]", float, bfloat16, half) {
  test::attention_survives_large_logits<Kernel, TestType>();
}
TEST_CASE("portable attention reads rows with gaps between them", "[attention]") {
  test::attention_reads_strided_rows<Kernel, float>();
}
TEST_CASE("portable attention without keys leaves the state alone", "[attention]") {
  test::attention_without_keys_leaves_the_state<Kernel, float>();
}

// The operations around the kernel.

test::AttentionProblem<float> small_problem() {
  test::AttentionProblem<float> p{.queries = 70, .keys = 90, .heads = 3, .kv_heads = 3, .head_dim = 8};
  return p.randomise(17);
}

TEST_CASE("attention multiplies every head by its gate", "[attention]") {
  const auto p = small_problem();
  const auto plain = test::run_attention<Kernel>(p);
  const std::vector<float> gate = test::random_values<float>(p.queries * p.heads, 5);
  const auto gated = test::run_attention<Kernel>(p, {}, gate);
  for (std::size_t i = 0; i < gated.out.size(); ++i) {
    CHECK(gated.out[i] == Approx(plain.out[i] * gate[i / 8]).epsilon(1e-6).margin(1e-9));
  }
  CHECK(test::same_bits(plain.lse, gated.lse));
}

TEST_CASE("attention state after reset is the identity whatever was in memory", "[attention]") {
  ThreadPool pool(2);
  test::AttentionMemory state(100, 2, 3);
  cpu::attention_reset(pool, state.view);
  for (const float value : state.accumulator) CHECK(value == 0.0F);
  for (const float value : state.sum) CHECK(value == 0.0F);
  for (const float value : state.maximum) CHECK(value == -std::numeric_limits<float>::infinity());
}

TEST_CASE("attention merged from two halves of the keys matches double precision", "[attention]") {
  const auto p = small_problem();
  ThreadPool pool(2);
  const auto tile = test::tile_of(p);
  test::AttentionMemory a(p.queries, p.heads, p.head_dim);
  test::AttentionMemory b(p.queries, p.heads, p.head_dim);
  cpu::attention_reset(pool, a.view);
  cpu::attention_reset(pool, b.view);
  auto first = tile;
  first.k = tile.k.rows(0, 41);
  first.v = tile.v.rows(0, 41);
  auto second = tile;
  second.k = tile.k.rows(41, 49);
  second.v = tile.v.rows(41, 49);
  test::append_in_portions<Kernel>(pool, first, a.view, {});
  test::append_in_portions<Kernel>(pool, second, b.view, {});
  const std::vector<float> before = b.accumulator;
  cpu::attention_merge(pool, b.view, a.view);
  CHECK(test::same_bits(before, b.accumulator));
  test::AttentionOutput<float> got{std::vector<float>(p.q.size()),
                                   std::vector<float>(static_cast<std::size_t>(p.queries * p.heads))};
  cpu::attention_finalize<float>(pool, a.view, {}, {got.out.data(), tile.q.extents()},
                                 {got.lse.data(), {p.queries, p.heads}});
  test::check_against_reference(p, got);
}

TEST_CASE("attention refuses operands that do not fit", "[attention]") {
  const auto p = small_problem();
  ThreadPool pool(1);
  HostResource memory;
  Arena arena(memory, 1 << 24);
  test::AttentionMemory state(p.queries, p.heads, p.head_dim);
  const auto tile = test::tile_of(p);
  const auto refused = [&](const AttentionTile<float>& wrong) {
    CHECK_THROWS_AS(cpu::attention_append<Kernel>(pool, wrong, state.view, arena), ShapeError);
  };
  auto wrong = tile;
  wrong.kv_heads = 2;
  refused(wrong);
  wrong = tile;
  wrong.v = tile.v.rows(0, 89);
  refused(wrong);
  wrong = tile;
  wrong.q = tile.q.rows(0, 69);
  refused(wrong);
  wrong = tile;
  wrong.key_begin = 100;
  refused(wrong);
  wrong = tile;
  wrong.k = tile.k.columns(0, 16);
  wrong.v = wrong.k;
  refused(wrong);
  wrong = tile;
  const std::vector<float> mask(80);
  wrong.mask = {mask.data(), {1, 80}};
  refused(wrong);
  wrong = tile;
  wrong.k = TensorView<const float, 2>(p.k.data(), {90, 24}, {1, 90});
  refused(wrong);
  CHECK_NOTHROW(cpu::attention_append<Kernel>(pool, tile, state.view, arena));
}

TEST_CASE("attention in an arena one byte too small says so before it works", "[attention]") {
  const auto p = small_problem();
  ThreadPool pool(1);
  const auto tile = test::tile_of(p);
  HostResource memory;
  Arena arena(memory, cpu::attention_workspace_bytes(1, tile) - 1);
  test::AttentionMemory state(p.queries, p.heads, p.head_dim);
  cpu::attention_reset(pool, state.view);
  CHECK_THROWS_AS(cpu::attention_append<Kernel>(pool, tile, state.view, arena), OutOfMemory);
  CHECK(state.sum[0] == 0.0F);
}

TEST_CASE("attention workspace grows with threads and stops growing with rows", "[attention]") {
  constexpr std::int64_t rows = cpu::attention_block_rows + 1;
  test::AttentionProblem<float> p{.queries = rows, .keys = 10, .heads = 1, .kv_heads = 1, .head_dim = 64};
  p.randomise();
  const auto one = cpu::attention_workspace_bytes(1, test::tile_of(p));
  CHECK(cpu::attention_workspace_bytes(4, test::tile_of(p)) > 3 * one);
  auto p2 = p;
  p2.queries = 2 * rows;
  p2.randomise();
  CHECK(cpu::attention_workspace_bytes(1, test::tile_of(p2)) == one);
  // Queries, accumulator, packed keys and values of one block, fp32.
  CHECK(one >= static_cast<std::size_t>(4 * 64 * (2 * cpu::attention_block_rows + 2 * key_quantum)));
  CHECK(one < static_cast<std::size_t>(5 * 64 * (2 * cpu::attention_block_rows + 2 * key_quantum)));
}

TEST_CASE("attention stops when its token fires", "[attention]") {
  const auto p = small_problem();
  std::stop_source stop;
  ThreadPool pool(2, stop.get_token());
  HostResource memory;
  const auto tile = test::tile_of(p);
  Arena arena(memory, cpu::attention_workspace_bytes(2, tile));
  test::AttentionMemory state(p.queries, p.heads, p.head_dim);
  stop.request_stop();
  CHECK_THROWS_AS(cpu::attention_append<Kernel>(pool, tile, state.view, arena), Cancelled);
  CHECK(arena.used_bytes() == 0);
}

}  // namespace
}  // namespace ltxmem
