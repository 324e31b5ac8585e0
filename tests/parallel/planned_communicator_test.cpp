// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/parallel/planned_communicator.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "parallel/communicator_suite.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;
static_assert(Communicator<PlannedCommunicator, Dry>);

/// One of each collective and an exchange, on rows that a dry run does not have.
template <class T, class Backend, class Ranks>
void everything_once(Backend& backend, Ranks& ranks, Arena& arena, Arena& data) {
  const int next = (ranks.rank() + 1) % ranks.size();
  const int last = (ranks.rank() + ranks.size() - 1) % ranks.size();
  const auto counts = test::uneven_counts(ranks.size());
  const auto count = [&](int rank) { return counts[static_cast<std::size_t>(rank)]; };
  std::int64_t total = 0;
  for (const std::int64_t rows : counts) total += rows;
  const auto all = data.take<T, 2>("all", {total, 3});
  const auto mine = data.take<T, 2>("mine", {count(ranks.rank()), 3});
  const auto theirs = data.take<T, 2>("theirs", {count(last), 3});
  const std::vector<std::int64_t> same(static_cast<std::size_t>(ranks.size()), 2);
  const auto square = data.take<T, 2>("square", {2 * ranks.size(), 3});
  const auto turned = data.take<T, 2>("turned", {2 * ranks.size(), 3});
  auto handle = ranks.exchange(backend, next, TensorView<const T, 2>(mine), last, theirs);
  ranks.wait(backend, handle);
  ranks.all_reduce(backend, Reduction::sum, all, arena);
  ranks.reduce_scatter(backend, Reduction::sum, TensorView<const T, 2>(all), counts, mine, arena);
  ranks.all_gather(backend, TensorView<const T, 2>(mine), counts, all);
  ranks.all_to_all(backend, TensorView<const T, 2>(square), same, turned, same);
  ranks.broadcast(backend, ranks.size() - 1, all);
  ranks.barrier(backend);
}

TEST_CASE("planned traffic and workspace are those of the run, rank by rank", "[parallel]") {
  for (const int size : {1, 2, 3, 4, 7}) {
    std::vector<Traffic> counted(static_cast<std::size_t>(size));
    std::vector<std::size_t> peaks(counted.size());
    ThreadGroup group(size);
    run_on_threads(group, [&](int rank) {
      Cpu backend;
      HostResource host;
      Arena arena(host, 1 << 16);
      Arena data(host, 1 << 20);
      ThreadCommunicator ranks(group, rank);
      everything_once<bfloat16>(backend, ranks, arena, data);
      counted[static_cast<std::size_t>(rank)] = ranks.traffic();
      peaks[static_cast<std::size_t>(rank)] = arena.peak_bytes();
    });
    for (int rank = 0; rank < size; ++rank) {
      CAPTURE(size, rank);
      Dry dry;
      Arena arena = Arena::make_virtual();
      Arena data = Arena::make_virtual();
      PlannedCommunicator ranks(rank, size);
      everything_once<bfloat16>(dry, ranks, arena, data);
      const Traffic& real = counted[static_cast<std::size_t>(rank)];
      CHECK(ranks.traffic() == real);
      CHECK(dry.record().totals().message_bytes == real.link_bytes);
      CHECK(arena.peak_bytes() == peaks[static_cast<std::size_t>(rank)]);
      CHECK((size == 1) == (real.sent_bytes == 0));
      CHECK(real.collectives == 6);
    }
  }
}

TEST_CASE("a message between others overlaps with computation in the replay", "[parallel]") {
  Dry dry;
  PlannedCommunicator ranks(0, 2);
  Arena data = Arena::make_virtual();
  const auto rows = data.take<float, 2>("rows", {1000, 1000});
  auto handle = ranks.exchange(dry, 1, TensorView<const float, 2>(rows), 1, rows);
  dry.for_each({"work", 0, 1'000'000'000}, 1, [](std::int64_t) {});
  ranks.wait(dry, handle);
  DeviceProfile profile;
  profile.memory_bytes_per_s = 1e9;   // one second of work
  profile.network_bytes_per_s = 1e7;  // and 0.4 seconds of message
  const Replay overlapped = replay(dry.record(), profile);
  CHECK(overlapped.seconds == Approx(1.0).epsilon(1e-3));
  CHECK(overlapped.queue(WorkQueue::network).busy_seconds == Approx(0.4).epsilon(1e-3));
}

TEST_CASE("a planned rank is one of its ranks", "[parallel]") {
  CHECK_THROWS_AS(PlannedCommunicator(2, 2), ShapeError);
  CHECK_THROWS_AS(PlannedCommunicator(0, 0), ShapeError);
}

}  // namespace
}  // namespace ltxmem
