// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <nccl.h>

#include <functional>
#include <memory>
#include <vector>

#include "doubles/stream.hpp"

/// The double of libnccl, by ranks that one thread plays in turns.

using doubles::found;
using doubles::Stream;

namespace {

constexpr std::uint64_t seeds = 8;

struct Rank {
  Stream stream{};
  ncclComm_t communicator = nullptr;
  std::uint8_t* rows = stream.allocate<std::uint8_t>(64);

  ncclResult_t send(int peer, std::size_t bytes, std::size_t at = 0) const {
    return ncclSend(rows + at, bytes, ncclInt8, peer, communicator, stream.native);
  }
  ncclResult_t receive(int peer, std::size_t bytes, std::size_t at) const {
    return ncclRecv(rows + at, bytes, ncclInt8, peer, communicator, stream.native);
  }
  void fill(std::uint8_t value) const {
    const std::vector<std::uint8_t> values(64, value);
    cudaMemcpyAsync(rows, values.data(), 64, cudaMemcpyDefault, stream.native);
  }
  std::uint8_t at(std::size_t index) const {
    std::uint8_t value = 0;
    cudaMemcpyAsync(&value, rows + index, 1, cudaMemcpyDefault, stream.native);
    return value;
  }
  /// Whether the last call has taken effect, asked at most so often.
  bool settles(int times = 10) const {
    ncclResult_t state = ncclInProgress;
    while (times-- > 0 && state == ncclInProgress) ncclCommGetAsyncError(communicator, &state);
    return state == ncclSuccess;
  }
};

std::vector<std::unique_ptr<Rank>> meet(int size) {
  ncclUniqueId id{};
  REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
  std::vector<std::unique_ptr<Rank>> ranks;
  for (int rank = 0; rank < size; ++rank) {
    REQUIRE(cudaSetDevice(rank) == cudaSuccess);
    ranks.push_back(std::make_unique<Rank>());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    CHECK(ncclCommInitRankConfig(&ranks.back()->communicator, size, id, rank, &config) == ncclInProgress);
    CHECK(ranks.back()->settles() == (rank == size - 1));
  }
  cudaSetDevice(0);
  return ranks;
}

}  // namespace

TEST_CASE("a ring of messages goes round in every seed, with work queued before and after", "[nccl]") {
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    doubles::reset({.seed = seed, .devices = 3});
    const auto ranks = meet(3);
    for (int rank = 0; rank < 3; ++rank) {
      const Rank& r = *ranks[static_cast<std::size_t>(rank)];
      r.fill(static_cast<std::uint8_t>(10 + rank));
      CHECK(ncclGroupStart() == ncclSuccess);
      CHECK(r.send((rank + 1) % 3, 8) == ncclSuccess);
      CHECK(r.send((rank + 1) % 3, 4) == ncclSuccess);
      CHECK(r.receive((rank + 2) % 3, 8, 16) == ncclSuccess);
      CHECK(r.receive((rank + 2) % 3, 4, 32) == ncclSuccess);
      CHECK(ncclGroupEnd() == ncclSuccess);
      r.settles();
      // Overwritten only after it was sent, since that is queued on the same stream.
      const std::vector<std::uint8_t> values(8, 99);
      cudaMemcpyAsync(r.rows, values.data(), 8, cudaMemcpyDefault, r.stream.native);
    }
    for (int rank = 0; rank < 3; ++rank) {
      const Rank& r = *ranks[static_cast<std::size_t>(rank)];
      CHECK(r.at(23) == 10 + (rank + 2) % 3);
      CHECK(r.at(35) == 10 + (rank + 2) % 3);
      CHECK(r.at(36) == 10 + rank);
      CHECK(r.at(0) == 99);
    }
    CHECK(doubles::findings() == std::vector<std::string>());
    for (const auto& rank : ranks) CHECK(ncclCommAbort(rank->communicator) == ncclSuccess);
  }
}

TEST_CASE("without a group a rank that sends before it receives waits for itself", "[nccl]") {
  doubles::reset({});
  const auto ranks = meet(1);
  const Rank& alone = *ranks[0];
  alone.fill(1);
  CHECK(alone.send(0, 8) == ncclSuccess);
  CHECK(alone.receive(0, 8, 16) == ncclSuccess);
  cudaEvent_t event = nullptr;
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaEventRecord(event, alone.stream.native);
  for (int i = 0; i < 20; ++i) CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  CHECK(ncclCommAbort(alone.communicator) == ncclSuccess);  // lets go of the queue
  CHECK(alone.stream.synchronize() == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaSuccess);
  CHECK(alone.at(16) == 1);
  CHECK(doubles::findings().empty());
}

TEST_CASE("messages of other sizes than expected, and of freed memory, are named", "[nccl]") {
  const auto exchange = [](const std::function<void(const Rank&, const Rank&)>& spoil, std::size_t expected) {
    doubles::reset({.devices = 2});
    const auto ranks = meet(2);
    for (const auto& rank : ranks) rank->fill(1);
    spoil(*ranks[0], *ranks[1]);
    CHECK(ranks[0]->send(1, 8) == ncclSuccess);
    CHECK(ranks[1]->receive(0, expected, 16) == ncclSuccess);
    ranks[1]->stream.synchronize();
    ranks[0]->stream.synchronize();
  };
  exchange([](const Rank&, const Rank&) {}, 8);
  CHECK(doubles::findings().empty());
  exchange([](const Rank&, const Rank&) {}, 7);
  CHECK(found("rank 0 sends 8 bytes, rank 1 expects 7"));
  exchange([](const Rank& from, const Rank&) { cudaFreeAsync(from.rows, from.stream.native); }, 8);
  CHECK(found("use after free: device allocation 1 of 64 bytes read by a message"));
  exchange([](const Rank&, const Rank& to) { cudaFreeAsync(to.rows, to.stream.native); }, 8);
  CHECK(found("use after free: device allocation 2 of 64 bytes written by a message"));
}

TEST_CASE("calls before the ranks have met and to ranks that do not exist are refused", "[nccl]") {
  doubles::reset({.devices = 2});
  const Rank rank{};
  CHECK(rank.send(0, 8) == ncclInvalidArgument);
  const auto ranks = meet(2);
  CHECK(ranks[0]->send(2, 8) == ncclInvalidArgument);
  CHECK(ranks[0]->send(-1, 8) == ncclInvalidArgument);
  CHECK(ncclGroupEnd() == ncclInvalidUsage);
  ncclUniqueId id{};
  ncclGetUniqueId(&id);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  Rank early{};
  CHECK(ncclCommInitRankConfig(&early.communicator, 2, id, 2, &config) == ncclInvalidArgument);
  CHECK(ncclCommInitRankConfig(&early.communicator, 2, id, 0, &config) == ncclInProgress);
  CHECK(early.send(1, 8) == ncclInvalidUsage);
  // Ranks have a device each, whose streams alone carry their messages.
  Rank late{};
  CHECK(ncclCommInitRankConfig(&late.communicator, 2, id, 1, &config) == ncclInvalidUsage);
  CHECK(ncclSend(ranks[1]->rows, 8, ncclInt8, 1, ranks[0]->communicator, ranks[1]->stream.native) == ncclInvalidUsage);
}
