// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cuda_runtime_api.h>

#include <chrono>
#include <string>
#include <vector>

#include "doubles/control.hpp"
#include "ltxmem/backend/cuda/cuda_stream.hpp"
#include "ltxmem/parallel/nccl_communicator.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "parallel/communicator_suite.hpp"
#include "support/catch.hpp"

/// NcclCommunicator by ranks that are threads, each with a device of its own. Rows are in host memory, which the double of
/// libnccl reaches too, and the processor computes: what is under test are messages, not kernels.

namespace ltxmem::test {

struct ProcessorWithStream : CpuBackend<> {
  CudaStream queue{};
  StreamRef stream() const noexcept { return queue.ref(); }
};
template <>
struct BackendOfRanks<NcclCommunicator> {
  using type = ProcessorWithStream;
};

}  // namespace ltxmem::test

namespace ltxmem {
namespace {

using namespace std::chrono_literals;

/// fn(id, rank) on a thread for every rank of a new machine.
template <class Fn>
void on_ranks(int size, std::uint64_t seed, Fn fn) {
  doubles::reset({.seed = seed, .devices = size});
  ncclUniqueId id{};
  REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
  ThreadGroup group(size);
  run_on_threads(group, [&](int rank) {
    test::must(cudaSetDevice(rank) == cudaSuccess, "no device for the rank");
    fn(id, rank);
  });
}

TEMPLATE_TEST_CASE("ranks under NCCL conform in every seed", "[nccl]", float, bfloat16) {
  for (const int size : {1, 2, 3, 4}) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      CAPTURE(size, seed);
      on_ranks(size, seed, [&](const ncclUniqueId& id, int rank) {
        NcclCommunicator ranks(id, rank, size);
        test::conform<TestType>(ranks);
      });
      CHECK(doubles::findings() == std::vector<std::string>());
      CHECK(doubles::live_allocations() == 0);
    }
  }
}

TEST_CASE("a rank under NCCL that does not come is named after the deadline", "[nccl]") {
  const auto began = std::chrono::steady_clock::now();
  std::string text;
  on_ranks(2, 0, [&](const ncclUniqueId& id, int rank) {
    NcclCommunicator ranks(id, rank, 2, {.deadline = 200ms});
    if (rank == 1) return;
    try {
      test::reduce(ranks);
    } catch (const RankError& error) {
      text = error.what();
    }
  });
  CHECK(text == "rank 0: all_reduce with rank 1: did not come within 200 ms");
  CHECK(std::chrono::steady_clock::now() - began < 20s);
  CHECK(doubles::findings() == std::vector<std::string>());
  CHECK(doubles::live_allocations() == 0);
}

}  // namespace
}  // namespace ltxmem
