// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/attention/tiled_attention.hpp"

#include <sys/mman.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "attention/tiled_attention_suite.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;
using test::AttentionProblem;
using test::Placement;
using test::TiledCut;

TEMPLATE_TEST_CASE("tiled attention matches double precision", "[attention]", float, bfloat16, half) {
  for (const Placement placement : {Placement::resident, Placement::host, Placement::recomputed}) {
    for (const bool causal : {false, true}) {
      auto p = test::uneven_problem<TestType>();
      p.causal = causal;
      test::check_against_reference(p, test::run_tiled(p, {256, 256, placement, 2}));
      p.randomise_mask(3);
      test::check_against_reference(p, test::run_tiled(p, {256, 512, placement, 2}));
    }
  }
}

TEMPLATE_TEST_CASE("tiled attention gives the same bits for every tile, store and thread count", "[attention]", float,
                   bfloat16) {
  AttentionProblem<TestType> p{.queries = 600, .keys = 1100, .heads = 2, .kv_heads = 1, .head_dim = 16};
  p.randomise(5);
  for (const bool causal : {false, true}) {
    p.causal = causal;
    p.window = causal ? 400 : 0;
    p.query_begin = causal ? 512 : 0;
    const auto whole = test::run_tiled(p);
    CAPTURE(causal);
    for (const std::int64_t query_tile : {0, 256, 512, 4096}) {
      for (const std::int64_t key_tile : {0, 256, 768, 4096}) {
        for (const Placement placement : {Placement::resident, Placement::host, Placement::recomputed}) {
          const int threads = query_tile == 256 ? 3 : 1;
          CAPTURE(query_tile, key_tile, static_cast<int>(placement));
          CHECK(test::same_bits(test::run_tiled(p, {query_tile, key_tile, placement, threads}), whole));
        }
      }
    }
    for (const int threads : {2, 3, 8}) {
      CHECK(test::same_bits(test::run_tiled(p, {256, 256, Placement::host, threads}), whole));
    }
  }
}

TEST_CASE("tiled attention handles one token, odd lengths and fewer keys than queries", "[attention]") {
  for (const auto& [queries, keys] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {1, 1000}, {257, 1}, {513, 255}}) {
    AttentionProblem<float> p{.queries = queries, .keys = keys, .heads = 3, .kv_heads = 3, .head_dim = 7};
    p.randomise(static_cast<std::uint32_t>(queries));
    CAPTURE(queries, keys);
    test::check_against_reference(p, test::run_tiled(p, {256, 256}));
  }
}

TEST_CASE("tiled attention over no keys is zero with a log-sum-exp of minus infinity", "[attention]") {
  AttentionProblem<float> p{.queries = 300, .keys = 0, .heads = 2, .kv_heads = 2, .head_dim = 4};
  p.randomise(1);
  const auto result = test::run_tiled(p, {256, 0});
  for (const float value : result.out) CHECK(value == 0.0F);
  for (const float value : result.lse) CHECK(value == -std::numeric_limits<float>::infinity());
}

TEST_CASE("tiled attention of no queries needs no memory", "[attention]") {
  AttentionProblem<float> p{.queries = 0, .keys = 10, .heads = 2, .kv_heads = 2, .head_dim = 4};
  p.randomise(1);
  Cpu backend;
  CHECK(TiledAttention<float, Cpu>::workspace_bytes(backend, {0, 10, 4}, test::options_of(p)) == 0);
  CHECK(test::run_tiled(p).out.empty());
}

TEST_CASE("tiled attention rounds tiles up to whole quanta and fills in its options", "[attention]") {
  const TiledAttention<float, Cpu> attention({.heads = 6, .query_tile = 300, .key_tile = 1});
  CHECK(attention.options().query_tile == 512);
  CHECK(attention.options().key_tile == 256);
  CHECK(attention.options().kv_heads == 6);
  CHECK(attention.query_tile(10000) == 512);
  CHECK(attention.query_tile(100) == 100);
  const TiledAttention<float, Cpu> whole({.heads = 6});
  CHECK(whole.query_tile(1234) == 1234);
  CHECK(whole.key_tile(1234) == 1234);
}

TEST_CASE("tiled attention scales by one over the root of the head dimension unless told otherwise", "[attention]") {
  auto p = test::uneven_problem<float>();
  p.scale = 1.0F / std::sqrt(static_cast<float>(p.head_dim));
  const auto told = test::run_tiled(p);
  p.scale = 0.0F;
  CHECK(test::same_bits(test::run_tiled(p), told));
}

TEST_CASE("tiled attention multiplies heads by their gates, tile by tile", "[attention]") {
  const auto p = test::uneven_problem<float>();
  const auto plain = test::run_tiled(p);
  const std::vector<float> gate = test::random_values<float>(p.queries * p.heads, 4);
  const auto gated = test::run_tiled(p, {256, 256, Placement::host, 2}, gate);
  const auto width = static_cast<std::size_t>(p.head_dim);
  for (std::size_t i = 0; i < gated.out.size(); ++i) {
    CHECK(gated.out[i] == Approx(plain.out[i] * gate[i / width]).epsilon(1e-6).margin(1e-9));
  }
}

TEST_CASE("tiled attention may write over its queries", "[attention]") {
  auto p = test::uneven_problem<float>();
  const auto expected = test::run_tiled(p);
  Cpu backend;
  HostResource resource;
  const TiledAttention<float, Cpu> attention(test::options_of(p, {256, 256}));
  Arena arena(resource, attention.workspace_bytes(backend, {p.queries, p.keys, p.head_dim}, attention.options()));
  const auto whole = test::tile_of(p);
  const TensorView<float, 2> q(p.q.data(), whole.q.extents());
  attention(backend, q, whole.k, whole.v, q, arena);
  CHECK(test::same_bits(p.q, expected.out));
}

TEST_CASE("attention of a group of heads over columns of a store is that part of the whole", "[attention]") {
  auto p = test::uneven_problem<float>();  // 4 query heads, 2 key heads, head_dim 20
  const auto expected = test::run_tiled(p);
  Cpu backend;
  HostResource resource;
  Arena arena(resource, std::size_t{1} << 24);
  auto whole = test::tile_of(p);
  HostRowStore<float, Cpu> keys(backend, {p.k.data(), whole.k.extents()}, arena, 256);
  HostRowStore<float, Cpu> values(backend, {p.v.data(), whole.v.extents()}, arena, 256);
  std::vector<float> out(p.q.size());
  const TensorView<float, 2> view(out.data(), whole.q.extents());
  TiledAttentionOptions options = test::options_of(p, {0, 256});
  options.heads = 2;
  options.kv_heads = 1;
  const TiledAttention<float, Cpu> attention(options);
  for (const std::int64_t group : {0, 1}) {
    auto group_keys = keys.columns(group * 20, 20);
    auto group_values = values.columns(group * 20, 20);
    attention(backend, whole.q.columns(group * 40, 40), group_keys, group_values, view.columns(group * 40, 40), arena);
  }
  CHECK(test::same_bits(out, expected.out));
}

// ------------------------------------------------------------------------------------------------------- accumulation

TEST_CASE("accumulating portions of the keys gives the bits of attention over all of them", "[attention]") {
  for (const bool causal : {false, true}) {
    auto p = test::uneven_problem<float>();
    p.causal = causal;
    p.query_begin = causal ? 300 : 0;
    p.randomise_mask(12);
    const auto expected = test::run_tiled(p);
    Cpu backend(CpuOptions{.threads = 2});
    HostResource resource;
    Arena arena(resource, std::size_t{1} << 24);
    const auto whole = test::tile_of(p);
    const TiledAttention<float, Cpu> attention(test::options_of(p, {256, 256}));
    OnlineSoftmax<Cpu> state(backend, arena, p.queries, p.heads, p.head_dim);
    for (const std::int64_t begin : {0, 512}) {
      const std::int64_t count = std::min<std::int64_t>(512, p.keys - begin);
      AttentionExtras extras;
      extras.mask = whole.mask.columns(begin, count);
      extras.query_begin = p.query_begin;
      extras.key_begin = begin;
      const std::size_t used = arena.used_bytes();
      arena.reset_peak();
      attention.accumulate(backend, whole.q, whole.k.rows(begin, count), whole.v.rows(begin, count), state.view(),
                           arena, extras);
      CHECK(arena.peak_bytes() - used == attention.accumulate_workspace_bytes(backend, {p.queries, count, p.head_dim}));
    }
    std::vector<float> out(p.q.size());
    state.finalize(TensorView<float, 2>(out.data(), whole.q.extents()));
    CHECK(test::same_bits(out, expected.out));
  }
}

/// Rows of another store, and a list of what was asked of it.
struct WatchedStore {
  using value_type = float;
  TensorView<const float, 2> all;
  std::vector<std::string>* log;

  std::int64_t rows() const { return all.extent(0); }
  std::int64_t width() const { return all.extent(1); }
  TensorView<const float, 2> load(Cpu&, std::int64_t begin, std::int64_t count) const {
    log->push_back("load " + std::to_string(begin) + " " + std::to_string(count));
    return all.rows(begin, count);
  }
  void prefetch(Cpu&, std::int64_t begin, std::int64_t count) const {
    log->push_back("prefetch " + std::to_string(begin) + " " + std::to_string(count));
  }
  WatchedStore columns(std::int64_t begin, std::int64_t count) const { return {all.columns(begin, count), log}; }
};

TEST_CASE("the next tile of keys is asked for before the one at work is used, across query tiles too", "[attention]") {
  AttentionProblem<float> p{.queries = 300, .keys = 600, .heads = 1, .kv_heads = 1, .head_dim = 2};
  p.randomise(1);
  std::vector<std::string> log;
  std::vector<std::string> ignored;
  Cpu backend;
  HostResource resource;
  Arena arena(resource, std::size_t{1} << 22);
  const auto whole = test::tile_of(p);
  WatchedStore keys{whole.k, &log};
  WatchedStore values{whole.v, &ignored};
  std::vector<float> out(p.q.size());
  const TiledAttention<float, Cpu> attention(test::options_of(p, {256, 256}));
  attention(backend, whole.q, keys, values, TensorView<float, 2>(out.data(), whole.q.extents()), arena);
  const std::vector<std::string> pass{"prefetch 0 256", "load 0 256",      "prefetch 256 256", "prefetch 256 256",
                                      "load 256 256",   "prefetch 512 88", "prefetch 512 88",  "load 512 88"};
  std::vector<std::string> expected = pass;
  expected.push_back("prefetch 0 256");
  expected.insert(expected.end(), pass.begin(), pass.end());
  CHECK(log == expected);
  CHECK(ignored == log);
}

TEST_CASE("causal attention loads no tile that is hidden as a whole", "[attention]") {
  AttentionProblem<float> p{.queries = 256, .keys = 2048, .heads = 1, .kv_heads = 1, .head_dim = 2};
  p.randomise(1);
  p.causal = true;
  p.window = 300;
  p.query_begin = 1024;
  std::vector<std::string> log;
  Cpu backend;
  HostResource resource;
  Arena arena(resource, std::size_t{1} << 22);
  const auto whole = test::tile_of(p);
  WatchedStore keys{whole.k, &log};
  WatchedStore values{whole.v, &log};
  std::vector<float> out(p.q.size());
  AttentionExtras extras;
  extras.query_begin = p.query_begin;
  const TiledAttention<float, Cpu> attention(test::options_of(p, {256, 256}));
  attention(backend, whole.q, keys, values, TensorView<float, 2>(out.data(), whole.q.extents()), arena, extras);
  for (const std::string& entry : log) {
    const std::int64_t begin = std::stoll(entry.substr(entry.find(' ')));
    CHECK(begin >= 512);  // query 1024 sees keys from 725 on
    CHECK(begin <= 1024);
  }
  CHECK(log.size() == 3 * 4 + 2 * 2);
}

// ------------------------------------------------------------------------------------------------- memory and planning

TEMPLATE_TEST_CASE("workspace_bytes is the peak of a dry run, and of the run", "[attention]", float, bfloat16) {
  for (const std::int64_t queries : {1, 255, 600, 5000}) {
    for (const std::int64_t keys : {0, 1, 300, 5000}) {
      for (const std::int64_t query_tile : {0, 256, 1024}) {
        for (const std::int64_t key_tile : {0, 512}) {
          for (const int threads : {1, 3}) {
            const TiledAttentionOptions options{
                .heads = 4, .kv_heads = 2, .query_tile = query_tile, .key_tile = key_tile};
            const AttentionShape shape{queries, keys, 24};
            Dry dry(Cpu::Target{threads});
            Arena arena = Arena::make_virtual();
            Arena data = Arena::make_virtual();
            const auto q = data.take<TestType, 2>("q", {queries, 96});
            const auto k = data.take<TestType, 2>("k", {keys, 48});
            const TiledAttention<TestType, Dry> attention(options);
            attention(dry, q, k, k, q, arena);
            const std::size_t planned = TiledAttention<TestType, Dry>::workspace_bytes(dry, shape, options);
            CAPTURE(queries, keys, query_tile, key_tile, threads);
            CHECK(arena.peak_bytes() == planned);
            const Cpu backend(CpuOptions{.threads = threads});
            CHECK(TiledAttention<TestType, Cpu>::workspace_bytes(backend, shape, options) == planned);
          }
        }
      }
    }
  }
  // run_tiled compares with the peak of a real run.
  test::run_tiled(test::uneven_problem<TestType>(), {256, 256, Placement::resident, 3});
}

TEST_CASE("the workspace is the state of one query tile and the scratch of one thread team", "[attention]") {
  const Cpu backend;
  const auto bytes = [&](std::int64_t query_tile, std::int64_t keys) {
    return TiledAttention<bfloat16, Cpu>::workspace_bytes(backend, {100000, keys, 128},
                                                          {.heads = 32, .query_tile = query_tile, .key_tile = 4096});
  };
  CHECK(bytes(1024, 100000) == bytes(1024, 1000000));
  // Both tiles have more rows than a thread takes at once.
  static_assert(cpu::attention_block_rows < 2048);
  CHECK(bytes(3072, 100000) - bytes(2048, 100000) == 1024 * 32 * 130 * sizeof(float));
}

TEST_CASE("a dry run of two hundred thousand tokens takes no time and counts every flop", "[attention]") {
  Dry dry;
  Arena arena = Arena::make_virtual();
  Arena data = Arena::make_virtual();
  constexpr std::int64_t tokens = 230520;
  const auto q = data.take<bfloat16, 2>("q", {tokens, 4096});
  const auto k = data.take<bfloat16, 2>("k", {tokens, 4096});
  TiledAttention<bfloat16, Dry>({.heads = 32, .query_tile = 4096, .key_tile = 4096})(dry, q, k, k, q, arena);
  std::int64_t flops = 0;
  for (const Record::Entry& entry : dry.record().entries()) {
    if (std::string(entry.operation) == "attention") flops += entry.flops * entry.times;
  }
  CHECK(flops == 4 * tokens * tokens * 4096);
}

TEST_CASE("rows may lie more than 2^32 elements apart", "[attention]") {
  constexpr std::int64_t stride = (std::int64_t{1} << 31) + 16;
  constexpr std::int64_t count = 4;
  constexpr std::size_t bytes = static_cast<std::size_t>(stride * count) * sizeof(bfloat16);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  AttentionProblem<bfloat16> p{.queries = count, .keys = count, .heads = 1, .kv_heads = 1, .head_dim = 16};
  p.randomise(2);
  auto whole = test::tile_of(p);
  const TensorView<bfloat16, 2> far(static_cast<bfloat16*>(memory), {count, 16}, {stride, 1});
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < 16; ++j) far(i, j) = whole.k(i, j);
  }
  Cpu backend;
  HostResource resource;
  Arena arena(resource, std::size_t{1} << 20);
  std::vector<bfloat16> near_out(p.q.size());
  std::vector<bfloat16> far_out(p.q.size());
  const TiledAttention<bfloat16, Cpu> attention(test::options_of(p));
  attention(backend, whole.q, whole.k, whole.k, {near_out.data(), whole.q.extents()}, arena);
  attention(backend, whole.q, far, far, {far_out.data(), whole.q.extents()}, arena);
  CHECK(test::same_bits(near_out, far_out));
  attention(backend, far, whole.k, whole.k, far, arena);
  munmap(memory, bytes);
}

// --------------------------------------------------------------------------------------------------------- refusals

std::string refusal(const TiledAttentionOptions& options) {
  try {
    const TiledAttention<float, Cpu> attention(options);
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("tiled attention refuses options that make no sense, naming them", "[attention]") {
  CHECK(refusal({.heads = 3, .kv_heads = 2}) == "tiled_attention: heads 3 not a multiple of kv_heads 2");
  CHECK(refusal({.heads = 0}) == "tiled_attention: heads 0 not a multiple of kv_heads 0");
  CHECK(refusal({.window = 5}) == "tiled_attention: window 5, expected 0 unless causal");
  CHECK(refusal({.query_tile = -1}) == "tiled_attention: query_tile -1, key_tile 0, expected at least 0");
  CHECK(refusal({.heads = 4, .kv_heads = 2}).empty());
}

TEST_CASE("tiled attention refuses operands that do not fit before it does anything", "[attention]") {
  auto p = test::uneven_problem<float>();
  Cpu backend;
  HostResource resource;
  Arena arena(resource, 0);
  const auto whole = test::tile_of(p);
  std::vector<float> memory(p.q.size(), 5.0F);
  const TensorView<float, 2> out(memory.data(), whole.q.extents());
  const TiledAttention<float, Cpu> attention(test::options_of(p));
  const auto says = [&](TensorView<const float, 2> q, TensorView<const float, 2> k, TensorView<const float, 2> v,
                        const AttentionExtras& extras, const std::string& text) {
    CHECK_THROWS_WITH(attention(backend, q, k, v, out, arena, extras), text);
  };
  says(whole.q, whole.k, whole.v.rows(0, 699), {}, "tiled_attention: key tokens 700, value tokens 699");
  says(whole.q, whole.k.columns(0, 20), whole.v, {}, "tiled_attention: key width 20, expected 40");
  says(whole.q, whole.k, whole.v.columns(0, 20), {}, "tiled_attention: key width 40, value width 20");
  says(whole.q.columns(0, 79), whole.k, whole.v, {}, "tiled_attention: query width 79 does not hold 4 heads");
  says(whole.q.rows(0, 3), whole.k, whole.v, {}, "tiled_attention: out 259 x 80, queries 3 x 80");
  AttentionExtras extras;
  extras.key_begin = 100;
  says(whole.q, whole.k, whole.v, extras, "tiled_attention: key_begin 100, expected a multiple of 256");
  extras = {};
  extras.gate = whole.q.rows(0, 2);
  says(whole.q, whole.k, whole.v, extras, "tiled_attention: gate 2 x 80, expected 259 x 4");
  extras = {};
  extras.mask = whole.q;
  says(whole.q, whole.k, whole.v, extras, "tiled_attention: mask 259 x 80, expected 259 x 700");
  extras = {};
  extras.natural_lse = out;
  says(whole.q, whole.k, whole.v, extras, "tiled_attention: lse 259 x 80, expected 259 x 4");
  for (const float value : memory) CHECK(value == 5.0F);
}

TEST_CASE("accumulate refuses a gate, which belongs to finalize", "[attention]") {
  auto p = test::uneven_problem<float>();
  Cpu backend;
  HostResource resource;
  Arena arena(resource, std::size_t{1} << 22);
  const auto whole = test::tile_of(p);
  OnlineSoftmax<Cpu> state(backend, arena, p.queries, p.heads, p.head_dim);
  const std::vector<float> gate(static_cast<std::size_t>(p.queries * p.heads), 1.0F);
  AttentionExtras extras;
  extras.gate = TensorView<const float, 2>(gate.data(), {p.queries, p.heads});
  const TiledAttention<float, Cpu> attention(test::options_of(p));
  CHECK_THROWS_AS(attention.accumulate(backend, whole.q, whole.k, whole.v, state.view(), arena, extras), ShapeError);
}

}  // namespace
}  // namespace ltxmem
