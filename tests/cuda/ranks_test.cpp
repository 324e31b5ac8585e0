// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/rank_runners.hpp"
#include "ffn/chunked_ffn_suite.hpp"
#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "support/attention_reference.hpp"
#include "support/catch.hpp"

/// NcclCommunicator and what computes over it, one rank for each device.

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

bool has_devices(int count) {
  const char* promised = std::getenv("LTXMEM_DOUBLE_DEVICES");
  REQUIRE(cuda_device_count() >= (promised == nullptr ? 0 : std::atoi(promised)));
  if (cuda_device_count() >= count) return true;
  WARN("skipped: " << count << " CUDA devices are needed, there are " << cuda_device_count());
  return false;
}

}  // namespace

TEST_CASE("ranks under NCCL add their rows in order, and get the same bits", "[device][ranks]") {
  if (!has_devices(3)) return;
  std::vector<std::vector<float>> rows;
  for (std::uint32_t rank = 0; rank < 3; ++rank) rows.push_back(random_values<float>(50, rank + 1));
  const std::vector<std::vector<float>> sums = on_device::all_reduce(rows);
  for (const std::vector<float>& got : sums) {
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == (rows[0][i] + rows[1][i]) + rows[2][i]);
  }
}

TEMPLATE_TEST_CASE("ring attention under NCCL matches double precision", "[device][ranks]", float, bfloat16) {
  if (!has_devices(3)) return;
  using T = TestType;
  AttentionProblem<T> p{.queries = 41, .keys = 41, .heads = 2, .kv_heads = 1, .head_dim = 64, .causal = true};
  p.randomise(9);
  const AttentionTile<T> whole = tile_of(p);
  const std::vector<double> expected = reference_attention(p).out;
  for (const Partition& partition :
       {Partition::zigzag(p.keys, 3), Partition::of_counts(std::vector<std::int64_t>{20, 0, p.keys - 20})}) {
    std::vector<T> out(p.q.size());
    on_device::ring_attention<T>(whole, partition, partition, {out.data(), whole.q.extents()});
    CHECK(relative_error(out, expected) < (std::is_same_v<T, float> ? 4e-6 : 2.5 * rounding<T>));
  }
}

TEMPLATE_TEST_CASE("attention by heads under NCCL matches double precision", "[device][ranks]", float, bfloat16) {
  if (!has_devices(3)) return;
  using T = TestType;
  AttentionProblem<T> p{.queries = 41, .keys = 41, .heads = 4, .kv_heads = 2, .head_dim = 64};
  p.randomise(10);
  const AttentionTile<T> whole = tile_of(p);
  const std::vector<double> expected = reference_attention(p).out;
  for (const std::int64_t first : {std::int64_t{14}, std::int64_t{0}}) {
    const Partition tokens = Partition::of_counts(std::vector<std::int64_t>{first, 20, p.keys - 20 - first});
    std::vector<T> out(p.q.size());
    on_device::ulysses_attention<T>(whole, tokens, {out.data(), whole.q.extents()});
    CHECK(relative_error(out, expected) < (std::is_same_v<T, float> ? 4e-6 : 2.5 * rounding<T>));
  }
}

TEMPLATE_TEST_CASE("a network whose hidden channels are shared under NCCL is the network", "[device][ranks]", float,
                   bfloat16) {
  if (!has_devices(3)) return;
  using T = TestType;
  const FfnProblem<T> p(37, 24, 40, 18);
  const std::vector<double> sums = reference_product(p.x.doubles(), p.up.doubles(), p.tokens, p.hidden, 24);
  std::vector<double> activations;
  for (const double sum : sums) activations.push_back(reference_activation(Activation::gelu_tanh, sum));
  const std::vector<double> expected = reference_product(activations, p.down.doubles(), p.tokens, 18, p.hidden);
  for (const std::int64_t first : {std::int64_t{13}, std::int64_t{0}}) {
    const Partition hidden = Partition::of_counts(std::vector<std::int64_t>{first, 8, p.hidden - 8 - first});
    const auto whole = on_device::tensor_parallel_ffn<T>(p.x.view(), p.up.weight(), p.down.weight(), hidden, {});
    CHECK(relative_error(whole[0], expected) < (std::is_same_v<T, float> ? 4e-6 : 2.5 * rounding<T>));
    const auto chunked =
        on_device::tensor_parallel_ffn<T>(p.x.view(), p.up.weight(), p.down.weight(), hidden, {.token_chunk = 16});
    for (const std::vector<T>& y : whole) CHECK(same_bits(y, whole[0]));
    for (const std::vector<T>& y : chunked) CHECK(same_bits(y, whole[0]));
  }
}

TEST_CASE("a rank that waits in vain says for whom, after the deadline", "[device][ranks]") {
  if (!has_devices(2)) return;
  CHECK(on_device::wait_in_vain(std::chrono::milliseconds(300)) ==
        "rank 0: exchange with rank 1: did not come within 300 ms");
}
