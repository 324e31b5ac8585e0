// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <limits>
#include <string>

#include "simt/device_buffer.hpp"
#include "simt/launchers.hpp"
#include "support/attention_reference.hpp"
#include "support/catch.hpp"

using namespace ltxmem;
using namespace ltxmem::test;
using simt::DeviceBuffer;

namespace {

template <class T>
struct Device {
  const AttentionProblem<T>& p;
  DeviceBuffer<T> q{"q", p.q};
  DeviceBuffer<T> k{"k", p.k};
  DeviceBuffer<T> v{"v", p.v};
  DeviceBuffer<float> mask{"mask", p.mask};
  DeviceBuffer<float> accumulator{"accumulator", p.queries* p.heads* p.head_dim};
  DeviceBuffer<float> maximum{"maximum", p.queries* p.heads};
  DeviceBuffer<float> sum{"sum", p.queries* p.heads};
  DeviceBuffer<T> out{"out", p.queries* p.heads* p.head_dim};
  DeviceBuffer<float> lse{"lse", p.queries* p.heads};

  simt::DeviceSoftmaxState state() const {
    return {{accumulator.data(), p.heads * p.head_dim}, {maximum.data(), p.heads}, {sum.data(), p.heads}};
  }
  /// Keys [begin, begin + count) of the problem.
  simt::AttentionKernelArguments<T> arguments(std::int64_t begin, std::int64_t count) const {
    simt::AttentionKernelArguments<T> a;
    const std::int64_t kv_width = p.kv_heads * p.head_dim;
    a.q = {q.data(), p.heads * p.head_dim};
    a.k = {k.data() + begin * kv_width, kv_width};
    a.v = {v.data() + begin * kv_width, kv_width};
    if (!p.mask.empty()) a.mask = {mask.data() + begin, p.keys};
    a.state = state();
    a.queries = p.queries;
    a.keys = count;
    a.heads_per_kv_head = p.heads / p.kv_heads;
    a.head_dim = p.head_dim;
    a.lead = p.query_begin - p.key_begin - begin;
    a.window = p.window;
    a.logit_scale = p.scale * log2_e;
    a.causal = p.causal;
    return a;
  }
};

template <class T>
struct Outcome {
  std::vector<float> accumulator, maximum, sum, lse;
  std::vector<T> out;
  simt::Counters counters;  ///< of the attention launches
};

/// Reset, append in tiles of `tile` keys, finalize; every launch must be clean.
template <class T>
Outcome<T> run(const AttentionProblem<T>& p, int key_rows, const simt::Options& options, std::int64_t tile = 0) {
  const Device<T> d{p};
  Outcome<T> outcome;
  REQUIRE(simt::run_reset(d.state(), p.queries, p.heads, p.head_dim, options).text() == "");
  if (tile == 0) tile = p.keys;
  for (std::int64_t begin = 0; begin < p.keys; begin += tile) {
    const simt::Report report =
        simt::run_attention(d.arguments(begin, std::min(tile, p.keys - begin)), p.heads, key_rows, options);
    REQUIRE(report.text() == "");
    outcome.counters = report.counters;
  }
  const simt::Report report = simt::run_finalize<T>(d.state(), {}, {d.out.data(), p.heads * p.head_dim},
                                                    {d.lse.data(), p.heads}, p.queries, p.heads, p.head_dim, options);
  REQUIRE(report.text() == "");
  outcome.accumulator = d.accumulator.values();
  outcome.maximum = d.maximum.values();
  outcome.sum = d.sum.values();
  outcome.out = d.out.values();
  outcome.lse = d.lse.values();
  return outcome;
}

template <class T>
void expect_reference(const AttentionProblem<T>& p, const Outcome<T>& outcome) {
  const AttentionResult expected = reference_attention(p);
  // Two roundings to T, of P and of the result; fp32 kernels round sums of up to a few hundred addends.
  CHECK(relative_error(outcome.out, expected.out) < (std::is_same_v<T, float> ? 2e-6 : 2.0 * rounding<T>));
  for (std::size_t i = 0; i < expected.lse.size(); ++i) {
    if (std::isinf(expected.lse[i])) {
      CHECK(outcome.lse[i] == -std::numeric_limits<float>::infinity());
    } else {
      CHECK(std::abs(static_cast<double>(outcome.lse[i]) - expected.lse[i]) < 1e-5);
    }
  }
}

const simt::Options schedules[] = {{0, false}, {0, true}, {1, false}, {2, true}};

template <class T>
AttentionProblem<T> problem(std::int64_t queries, std::int64_t keys, std::int64_t head_dim, std::int64_t heads = 1,
                            std::int64_t kv_heads = 1) {
  AttentionProblem<T> p;
  p.queries = queries;
  p.keys = keys;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  p.randomise(static_cast<std::uint32_t>(queries * 31 + keys));
  return p;
}

template <class T>
void expect_all_schedules(const AttentionProblem<T>& p, int key_rows) {
  for (const simt::Options& options : schedules) {
    INFO("seed " << options.seed << ", early copies " << options.early_copies);
    expect_reference(p, run(p, key_rows, options));
  }
}

/// What the kernel's comment says about one launch.
template <class T>
void expect_formula(const AttentionProblem<T>& p, int key_rows, const simt::Counters& counters) {
  const std::int64_t block_rows = key_rows == 0 ? cuda::plain_query_rows : cuda::flash_query_rows;
  const std::int64_t tile = key_rows == 0 ? cuda::plain_key_rows : key_rows;
  const std::int64_t lanes = key_rows == 0 ? 32 : 4;
  std::int64_t loaded = 0;
  std::int64_t stored = 0;
  for (std::int64_t first = 0; first < p.queries; first += block_rows) {
    const std::int64_t rows = std::min(block_rows, p.queries - first);
    const std::int64_t lead = p.query_begin - p.key_begin;
    const std::int64_t last_key = p.causal ? first + block_rows - 1 + lead : p.keys - 1;
    const std::int64_t first_key =
        p.causal && p.window > 0 ? std::max<std::int64_t>(0, first + lead + 1 - p.window) / tile * tile : 0;
    const std::int64_t end =
        std::min(p.keys, (std::clamp<std::int64_t>(last_key + 1, 0, p.keys) + tile - 1) / tile * tile);
    if (end <= first_key) continue;  // the state stays as it is
    const std::int64_t seen = end - first_key;
    loaded += static_cast<std::int64_t>(sizeof(T)) * p.head_dim * (rows + 2 * seen);
    loaded += rows * (4 * p.head_dim + 8 * lanes);
    stored += rows * 4 * (p.head_dim + 2);
    if (!p.mask.empty()) {
      for (std::int64_t n = first; n < first + rows; ++n) {
        for (std::int64_t m = 0; m < p.keys; ++m) loaded += p.visible(n, m) ? 4 : 0;
      }
    }
  }
  CHECK(static_cast<std::int64_t>(counters.global_loaded_bytes) == loaded * p.heads);
  CHECK(static_cast<std::int64_t>(counters.global_stored_bytes) == stored * p.heads);
  CHECK(counters.wavefronts == counters.ideal_wavefronts);
}

}  // namespace

TEMPLATE_TEST_CASE("flash attention agrees with double precision in every schedule", "[flash][quick]", bfloat16, half) {
  expect_all_schedules(problem<TestType>(1, 1, 64), 64);
  expect_all_schedules(problem<TestType>(17, 130, 64, 2, 1), 64);
  expect_all_schedules(problem<TestType>(65, 200, 64), 64);
  expect_all_schedules(problem<TestType>(33, 129, 128), 64);
}

TEMPLATE_TEST_CASE("flash attention has a kernel for heads of 256", "[flash][quick]", bfloat16, half) {
  expect_all_schedules(problem<TestType>(19, 97, 256), 32);
}

TEST_CASE("flash attention hides later keys, keys before the window, and what a mask hides", "[flash][quick]") {
  auto p = problem<bfloat16>(100, 150, 64, 2, 1);
  p.randomise_mask(5);
  std::fill(p.mask.begin() + 3 * 150, p.mask.begin() + 4 * 150, -std::numeric_limits<float>::infinity());
  expect_all_schedules(p, 64);
  p.causal = true;
  expect_all_schedules(p, 64);
  p.mask.clear();
  p.window = 20;
  p.query_begin = 40;
  expect_all_schedules(p, 64);
  p.query_begin = 0;
  p.key_begin = 80;  // whole rows and the first block see nothing
  expect_all_schedules(p, 64);
}

TEMPLATE_TEST_CASE("the first and the last visible key are seen where they begin a tile or end one",
                   "[flash][plain][quick]", bfloat16, float) {
  auto p = problem<TestType>(64, 130, 64);
  const int key_rows = std::is_same_v<TestType, float> ? 0 : 64;
  p.causal = true;
  p.query_begin = 1;  // key 64 is visible to the last row of the block alone
  expect_all_schedules(p, key_rows);
  p.query_begin = 82;
  p.window = 20;  // key 63 is visible to the first row alone
  expect_all_schedules(p, key_rows);
  p.window = 145;  // key 0 is hidden from the last row alone
  expect_all_schedules(p, key_rows);
  p.window = 0;
  p.query_begin = 62;  // key 63 is hidden from the first row alone
  expect_all_schedules(p, key_rows);
  p.query_begin = 0;
  p.key_begin = 80;  // nothing is visible
  p.window = 0;
  expect_all_schedules(p, key_rows);
}

TEMPLATE_TEST_CASE("plain attention takes any head dim and any type", "[plain][quick]", float, bfloat16, half) {
  for (const std::int64_t head_dim : {1, 7, 33, 72, 256}) {
    INFO("head dim " << head_dim);
    expect_all_schedules(problem<TestType>(9, 41, head_dim, 2, 1), 0);
  }
  expect_all_schedules(problem<TestType>(1, 1, 3), 0);
  auto p = problem<TestType>(21, 70, 8, 4, 2);
  p.randomise_mask(5);
  p.causal = true;
  p.query_begin = 10;
  expect_all_schedules(p, 0);
  p.window = 5;
  expect_all_schedules(p, 0);
}

TEMPLATE_TEST_CASE("cutting the keys at whole quanta changes no bit of the state", "[flash][plain]", bfloat16, float) {
  const auto p = problem<TestType>(9, 600, 64);
  const int key_rows = std::is_same_v<TestType, float> ? 0 : 64;
  const auto whole = run(p, key_rows, {});
  const auto cut = run(p, key_rows, {}, 256);
  CHECK(whole.accumulator == cut.accumulator);
  CHECK(whole.maximum == cut.maximum);
  CHECK(whole.sum == cut.sum);
}

TEST_CASE("a reset state has seen nothing", "[state][quick]") {
  const auto p = problem<float>(5, 1, 40, 3, 3);
  const Device<float> d{p};
  const simt::Report report = simt::run_reset(d.state(), 5, 3, 40, {});
  REQUIRE(report.text() == "");
  CHECK(report.counters.global_loaded_bytes == 0);
  CHECK(report.counters.global_stored_bytes == 15 * 4 * (40 + 2));
  CHECK(d.maximum.values() == std::vector<float>(15, -std::numeric_limits<float>::infinity()));
  CHECK(d.sum.values() == std::vector<float>(15, 0.0F));
  CHECK(d.accumulator.values() == std::vector<float>(600, 0.0F));
}

TEST_CASE("merged states are the state of all keys", "[state][quick]") {
  const auto p = problem<float>(13, 96, 40, 3, 3);
  for (const simt::Options& options : schedules) {
    const Device<float> low{p};
    const Device<float> high{p};
    REQUIRE(simt::run_reset(low.state(), 13, 3, 40, options).text() == "");
    REQUIRE(simt::run_reset(high.state(), 13, 3, 40, options).text() == "");
    REQUIRE(simt::run_attention(low.arguments(0, 50), 3, 0, options).text() == "");
    REQUIRE(simt::run_attention(high.arguments(50, 46), 3, 0, options).text() == "");
    const simt::Report merged = simt::run_merge(high.state(), low.state(), 13, 3, 40, options);
    REQUIRE(merged.text() == "");
    CHECK(merged.counters.global_loaded_bytes == 39 * (8 * 40 + 16 * 32));
    CHECK(merged.counters.global_stored_bytes == 39 * (4 * 40 + 8));
    const DeviceBuffer<float> gate("gate", random_values<float>(39, 3));
    const auto gated = simt::run_finalize<float>(low.state(), {gate.data(), 3}, {low.out.data(), 120},
                                                 {low.lse.data(), 3}, 13, 3, 40, options);
    REQUIRE(gated.text() == "");
    CHECK(gated.counters.global_loaded_bytes == 39 * (4 * 40 + 8 * 32 + 8));
    CHECK(gated.counters.global_stored_bytes == 39 * (4 * 40 + 4));
    AttentionResult expected = reference_attention(p);
    for (std::size_t i = 0; i < expected.out.size(); ++i) expected.out[i] *= static_cast<double>(gate.data()[i / 40]);
    CHECK(relative_error(low.out.values(), expected.out) < 2e-6);
    CHECK(relative_error(low.lse.values(), expected.lse) < 2e-6);
  }
}

TEST_CASE("attention moves the bytes of its formula and its shared memory has no bank conflicts", "[counters][quick]") {
  for (const std::int64_t head_dim : {64, 128, 256}) {
    {
      const int key_rows = cuda::flash_key_rows(static_cast<int>(head_dim));
      auto p = problem<bfloat16>(70, 140, head_dim, 2, 1);
      INFO("head dim " << head_dim << ", key rows " << key_rows);
      const auto outcome = run(p, key_rows, {});
      expect_formula(p, key_rows, outcome.counters);
      // Two products of 4 warps x 16 rows: keys and columns in eights and sixteens, whole tiles.
      const std::int64_t tiles = (140 + key_rows - 1) / key_rows;
      CHECK(static_cast<std::int64_t>(outcome.counters.matrix_products) ==
            2 * 2 * 4 * tiles * 2 * (key_rows / 8) * (head_dim / 16));
    }
  }
  auto p = problem<bfloat16>(70, 140, 64, 2, 1);
  p.randomise_mask(7);
  p.causal = true;
  p.query_begin = 20;
  expect_formula(p, 64, run(p, 64, {}).counters);
  p.window = 10;
  p.mask.clear();
  expect_formula(p, 64, run(p, 64, {}).counters);
  CHECK(sizeof(cuda::PlainAttentionShared) == 73856);  // the kernel's comment
  auto plain = problem<float>(11, 45, 64, 2, 1);
  expect_formula(plain, 0, run(plain, 0, {}).counters);
  plain.randomise_mask(7);
  plain.causal = true;
  plain.query_begin = 20;
  expect_formula(plain, 0, run(plain, 0, {}).counters);
}
