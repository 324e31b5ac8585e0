// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// What the processor can do at most, to hold other benchmarks against: fp32 multiply-adds, products of bf16 pairs and
/// of bf16 matrix tiles on registers alone, and the copy of a block that no cache holds.
///
/// Counters: flop/s, or bytes_per_second counting what is read and what is written. Threads repeat the work.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "ltxmem/backend/cpu/amx_tiles.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>

namespace {

/// 24 chains of their own hide the latency of two units. The compiler would merge chains that are equal, hence the
/// different starts.
constexpr int chains = 24;
constexpr int steps = 100000;

void count(benchmark::State& state, double flops_per_iteration) {
  // Each thread counts its own iterations: a rate that the library multiplies by them would count those of all threads
  // once more.
  state.counters["flop/s"] = benchmark::Counter(flops_per_iteration * static_cast<double>(state.iterations()),
                                                benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

__attribute__((target("avx512f"))) void multiply_adds() {
  __m512 sums[chains];
#pragma GCC unroll 24
  for (int i = 0; i < chains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(0.999F);
  const __m512 term = _mm512_set1_ps(0.001F);
  for (int step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) sums[i] = _mm512_fmadd_ps(sums[i], factor, term);
  }
#pragma GCC unroll 24
  for (int i = 0; i < chains; ++i) benchmark::DoNotOptimize(_mm512_cvtss_f32(sums[i]));
}

/// Half as many registers, of which two are the operands: twelve chains, for two units of a latency up to six.
constexpr int narrow_chains = 12;

__attribute__((target("avx2,fma"))) void narrow_multiply_adds() {
  __m256 sums[narrow_chains];
#pragma GCC unroll 12
  for (int i = 0; i < narrow_chains; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(0.999F);
  const __m256 term = _mm256_set1_ps(0.001F);
  for (int step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < narrow_chains; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, term);
  }
#pragma GCC unroll 12
  for (int i = 0; i < narrow_chains; ++i) benchmark::DoNotOptimize(_mm256_cvtss_f32(sums[i]));
}

__attribute__((target("avx512f,avx512bf16"))) void pair_products() {
  __m512 sums[chains];
#pragma GCC unroll 24
  for (int i = 0; i < chains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const auto a = (__m512bh)_mm512_set1_epi32(0x3C003C00);
  const auto b = (__m512bh)_mm512_set1_epi32(0x3C003C01);
  for (int step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  }
#pragma GCC unroll 24
  for (int i = 0; i < chains; ++i) benchmark::DoNotOptimize(_mm512_cvtss_f32(sums[i]));
}

__attribute__((target("amx-tile,amx-bf16"))) void tile_products() {
  _tile_loadconfig(&ltxmem::cpu::whole_tiles);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int step = 0; step < steps; ++step) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  _tile_release();
}

const bool registered = [] {
  const auto add = [](const char* name, double flops, void (*work)()) {
    benchmark::RegisterBenchmark(name,
                                 [flops, work](benchmark::State& state) {
                                   for ([[maybe_unused]] auto _ : state) work();
                                   count(state, flops);
                                 })
        ->ThreadRange(1, 2)
        ->UseRealTime()
        ->MinTime(0.2);
  };
  if (__builtin_cpu_supports("avx512f")) {
    add("limits/f32_multiply_add", 32.0 * chains * steps, multiply_adds);
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    add("limits/f32_multiply_add", 16.0 * narrow_chains * steps, narrow_multiply_adds);
  }
  if (__builtin_cpu_supports("avx512bf16")) add("limits/bf16_pairs", 64.0 * chains * steps, pair_products);
  if (ltxmem::cpu::has_matrix_tiles()) add("limits/bf16_tiles", 4.0 * 16384.0 * steps, tile_products);
  return true;
}();

}  // namespace

#endif

namespace {

void copy(benchmark::State& state) {
  std::vector<char> from(std::size_t{256} << 20, 'a');
  std::vector<char> to(from.size());
  for ([[maybe_unused]] auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(2 * from.size()));
}
BENCHMARK(copy)->Name("limits/copy")->ThreadRange(1, 2)->UseRealTime()->MinTime(0.2);

}  // namespace
