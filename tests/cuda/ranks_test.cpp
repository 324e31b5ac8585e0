// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/rank_runners.hpp"
#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "support/attention_reference.hpp"
#include "support/catch.hpp"

/// NcclCommunicator and RingAttention on it, one rank for each device.

using namespace ltxmem;
using namespace ltxmem::test;

namespace {

bool has_devices(int count) {
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

TEST_CASE("a rank that waits in vain says for whom, after the deadline", "[device][ranks]") {
  if (!has_devices(2)) return;
  CHECK(on_device::wait_in_vain(std::chrono::milliseconds(300)) ==
        "rank 0: exchange with rank 1: did not come within 300 ms");
}
