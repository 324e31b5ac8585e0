// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/parallel/thread_communicator.hpp"

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/parallel/any_transport.hpp"
#include "ltxmem/parallel/planned_communicator.hpp"
#include "parallel/communicator_suite.hpp"
#include "parallel/jitter.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using namespace std::chrono_literals;
using test::reduce;
using Cpu = CpuBackend<>;
static_assert(Communicator<ThreadCommunicator, Cpu>);
static_assert(MessageTransport<ThreadTransport> && !MessageTransport<SingleRank>);

static_assert(HostTransport<ThreadTransport> && !HostTransport<PlannedTransport>);
static_assert(!std::constructible_from<AnyTransport, PlannedTransport>);

using Late = MessageRanks<test::Jitter<ThreadTransport>>;

/// Every rank runs every case of the suite, one after another.
template <class T, class Ranks, class Make>
std::int64_t run_suite(int size, Make&& make) {
  ThreadGroup group(size);
  std::atomic<std::int64_t> sent = 0;
  run_on_threads(group, [&](int rank) {
    Ranks ranks = make(group, rank);
    test::conform<T>(ranks);
    sent += ranks.traffic().sent_bytes;
  });
  return group.moved_bytes() - sent;
}

TEMPLATE_TEST_CASE("ranks that are threads conform", "[parallel]", float, bfloat16, half) {
  for (const int size : {1, 2, 3, 4, 7}) {
    CAPTURE(size);
    const auto make = [](ThreadGroup& group, int rank) { return ThreadCommunicator(group, rank); };
    CHECK(run_suite<TestType, ThreadCommunicator>(size, make) == 0);
  }
}

TEST_CASE("ranks that come late at random conform as well", "[parallel]") {
  for (const int size : {2, 3, 4, 7}) {
    for (std::uint32_t seed = 1; seed <= 4; ++seed) {
      CAPTURE(size, seed);
      const auto make = [seed](ThreadGroup& group, int rank) {
        return Late(test::Jitter<ThreadTransport>(ThreadTransport(group, rank), seed));
      };
      CHECK(run_suite<float, Late>(size, make) == 0);
    }
  }
}

TEST_CASE("a transport chosen at run time conforms", "[parallel]") {
  using Any = MessageRanks<AnyTransport>;
  for (const int size : {1, 2, 7}) {
    CAPTURE(size);
    const auto make = [](ThreadGroup& group, int rank) { return Any(AnyTransport(ThreadTransport(group, rank))); };
    CHECK(run_suite<float, Any>(size, make) == 0);
  }
}

TEST_CASE("the suite holds for a single rank", "[parallel]") {
  SingleRank ranks;
  for (const auto& conformance : test::conformance_cases<float, SingleRank>()) {
    CAPTURE(conformance.name);
    CHECK_NOTHROW(conformance.run(ranks));
  }
}

TEST_CASE("an exchange is under way before anybody waits", "[parallel]") {
  ThreadGroup group(2);
  std::atomic<int> arrived = 0;
  run_on_threads(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    const std::vector<float> mine(4, static_cast<float>(rank + 1));
    std::vector<float> theirs(4, 0.0F);
    auto handle = ranks.exchange(backend, 1 - rank, TensorView<const float, 2>(mine.data(), {2, 2}), 1 - rank,
                                 TensorView<float, 2>(theirs.data(), {2, 2}));
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    test::must(group.moved_bytes() == 32, "nothing was moved before the wait");
    ranks.wait(backend, handle);
    test::must(theirs[3] == static_cast<float>(2 - rank), "wrong rows");
  });
}

// ------------------------------------------------------------------------------------------------------------ faults

/// What each rank ends with, "" when it ends well.
template <class Fn>
std::vector<std::string> endings(ThreadGroup& group, Fn&& fn) {
  std::vector<std::string> result(static_cast<std::size_t>(group.size()));
  std::vector<int> culprits(result.size(), -1);
  try {
    run_on_threads(group, [&](int rank) {
      try {
        fn(rank);
      } catch (const std::exception& error) {
        result[static_cast<std::size_t>(rank)] = error.what();
        throw;
      }
    });
  } catch (const std::exception&) {
  }
  return result;
}

TEST_CASE("a rank that throws wakes the others at once, and is named", "[parallel]") {
  ThreadGroup group(4, {.deadline = 60s});
  const auto began = std::chrono::steady_clock::now();
  const auto ended = endings(group, [&](int rank) {
    ThreadCommunicator ranks(group, rank);
    if (rank == 2) throw Error("no more paper");
    reduce(ranks);
  });
  CHECK(std::chrono::steady_clock::now() - began < 30s);
  CHECK(ended[2] == "no more paper");
  for (const int rank : {0, 1, 3}) {
    CAPTURE(ended[static_cast<std::size_t>(rank)]);
    CHECK(ended[static_cast<std::size_t>(rank)].find("rank 2 failed: no more paper") != std::string::npos);
    CHECK(ended[static_cast<std::size_t>(rank)].find("rank " + std::to_string(rank) + ": all_reduce") == 0);
  }
}

TEST_CASE("a wait for a message that travels by other means ends as those of the group do", "[parallel]") {
  ThreadGroup stalls(3, {.deadline = 300ms});
  const auto stalled = endings(stalls, [&](int rank) {
    const AnyTransport ranks(ThreadTransport(stalls, rank));
    int asked = 0;
    ranks.watch(RankOperation::exchange, (rank + 1) % 3, [&] { return ++asked == 3; });
    test::must(asked == 3, "a message that has come is waited for");
    if (rank == 2) return std::this_thread::sleep_for(1500ms);
    if (rank == 0) return ranks.watch(RankOperation::exchange, 1, [] { return false; });
    float value = 0;
    detail::CallingThread thread;
    auto request = ranks.post(thread, {.from = 2, .receive = std::as_writable_bytes(std::span(&value, 1))});
    ranks.finish(thread, request);
  });
  CHECK(stalled[0] == "rank 0: exchange with rank 1: rank 2 did not come within 300 ms");
  CHECK(stalled[1] == "rank 1: exchange with rank 2: rank 2 did not come within 300 ms");
  CHECK(stalled[2].empty());

  ThreadGroup fails(2, {.deadline = 60s});
  const auto began = std::chrono::steady_clock::now();
  const auto failed = endings(fails, [&](int rank) {
    if (rank == 1) throw Error("no more paper");
    ThreadTransport(fails, 0).watch(RankOperation::all_to_all, 1, [] { return false; });
  });
  CHECK(failed[0] == "rank 0: all_to_all with rank 1: rank 1 failed: no more paper");
  CHECK(std::chrono::steady_clock::now() - began < 30s);
}

TEST_CASE("the error that began it all is the one thrown again", "[parallel]") {
  ThreadGroup group(3);
  CHECK_THROWS_WITH(run_on_threads(group,
                                   [&](int rank) {
                                     ThreadCommunicator ranks(group, rank);
                                     if (rank == 1) throw Error("first");
                                     reduce(ranks);
                                   }),
                    "first");
}

TEST_CASE("a rank that does not come within the deadline is named, not the one that waits for it", "[parallel]") {
  ThreadGroup group(3, {.deadline = 500ms});
  const auto began = std::chrono::steady_clock::now();
  std::atomic<int> waited = 0;
  // 0 waits for 1, which waits for 2, which sleeps.
  const auto ended = endings(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    test::Rows<float> rows(1, 1);
    if (rank == 2) {
      while (waited < 2) std::this_thread::sleep_for(1ms);
      return;
    }
    if (rank == 1) std::this_thread::sleep_for(50ms);
    auto handle = ranks.exchange(backend, rank + 1, TensorView<const float, 2>(), rank + 1, rows.view());
    try {
      ranks.wait(backend, handle);
    } catch (const RankError&) {
      ++waited;
      throw;
    }
  });
  CHECK(ended[0] == "rank 0: exchange with rank 1: rank 2 did not come within 500 ms");
  CHECK(ended[1] == "rank 1: exchange with rank 2: rank 2 did not come within 500 ms");
  CHECK(ended[2].empty());
  CHECK(std::chrono::steady_clock::now() - began < 20s);
}

TEST_CASE("the error tells programs which rank it was", "[parallel]") {
  ThreadGroup group(2, {.deadline = 20ms});
  try {
    run_on_threads(group, [&](int rank) {
      ThreadCommunicator ranks(group, rank);
      if (rank == 0) reduce(ranks);
    });
    FAIL("nothing was thrown");
  } catch (const RankError& error) {
    CHECK(error.rank() == 1);
  }
}

TEST_CASE("ranks that wait for each other in a ring all leave", "[parallel]") {
  ThreadGroup group(3, {.deadline = 50ms});
  const auto ended = endings(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    test::Rows<float> rows(1, 1);
    const int next = (rank + 1) % 3;
    auto handle = ranks.exchange(backend, next, TensorView<const float, 2>(), next, rows.view());
    ranks.wait(backend, handle);
  });
  for (const std::string& text : ended) CHECK(text.find("did not come within 50 ms") != std::string::npos);
}

TEST_CASE("ranks in different operations are told apart", "[parallel]") {
  ThreadGroup group(2);
  const auto ended = endings(group, [&](int rank) {
    Cpu backend;
    ThreadCommunicator ranks(group, rank);
    if (rank == 0) reduce(ranks);
    if (rank == 1) ranks.barrier(backend);
  });
  for (const std::string& text : ended) {
    CAPTURE(text);
    CHECK(text.find("in all_reduce") != std::string::npos);
    CHECK(text.find("in barrier") != std::string::npos);
  }
}

TEST_CASE("a message of another length than expected is an error on both sides", "[parallel]") {
  ThreadGroup group(2);
  const auto ended = endings(group, [&](int rank) {
    ThreadCommunicator ranks(group, rank);
    reduce(ranks, rank == 0 ? 4 : 6);
  });
  for (const std::string& text : ended) CHECK(text.find(" bytes, rank ") != std::string::npos);
}

TEST_CASE("ranks that fail at random points never hang and never touch freed rows", "[parallel]") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    ThreadGroup group(4, {.deadline = 10s});
    const int victim = static_cast<int>(seed % 4);
    const auto ended = endings(group, [&](int rank) {
      Late ranks(test::Jitter<ThreadTransport>(ThreadTransport(group, rank), seed));
      for (std::uint32_t turn = 0; turn < 10; ++turn) {
        if (rank == victim && turn == seed % 10) throw Error("gone");
        reduce(ranks, 64);
      }
    });
    for (int rank = 0; rank < 4; ++rank) {
      const std::string& text = ended[static_cast<std::size_t>(rank)];
      CAPTURE(seed, rank, text);
      CHECK(text.find(rank == victim ? "gone" : "rank " + std::to_string(victim) + " failed: gone") !=
            std::string::npos);
    }
  }
}

TEST_CASE("a rank that does not return is abandoned a while after the first error", "[parallel]") {
  for (const bool returns : {false, true}) {
    CAPTURE(returns);
    std::atomic<bool> is_free = false;
    std::string abandoned;
    ThreadGroup group(2, {.deadline = 20ms, .grace = 20ms, .abandon = [&](const std::exception_ptr& first) {
                            try {
                              std::rethrow_exception(first);
                            } catch (const RankError& error) {
                              abandoned = error.what();
                            }
                            is_free = true;
                          }});
    CHECK_THROWS_AS(run_on_threads(group,
                                   [&](int rank) {
                                     while (rank == 1 && !returns && !is_free) std::this_thread::sleep_for(1ms);
                                     ThreadCommunicator ranks(group, rank);
                                     if (rank == 0) reduce(ranks);
                                   }),
                    RankError);
    CHECK(abandoned == (returns ? "" : "rank 0: all_reduce with rank 1: rank 1 did not come within 20 ms"));
  }
}

TEST_CASE("a handle that is dropped takes its message back", "[parallel]") {
  ThreadGroup group(2, {.deadline = 20ms});
  ThreadCommunicator sender(group, 0);
  ThreadCommunicator receiver(group, 1);
  Cpu backend;
  test::Rows<float> rows(1, 1);
  { auto dropped = sender.exchange(backend, 1, rows.constant(), 1, TensorView<float, 2>()); }
  auto handle = receiver.exchange(backend, 0, TensorView<const float, 2>(), 0, rows.view());
  CHECK_THROWS_AS(receiver.wait(backend, handle), RankError);
  CHECK(group.moved_bytes() == 0);
}

TEST_CASE("a group has ranks, and a communicator is one of them", "[parallel]") {
  CHECK_THROWS_AS(ThreadGroup(0), ShapeError);
  ThreadGroup group(2);
  CHECK_THROWS_AS(ThreadCommunicator(group, 2), ShapeError);
  CHECK_THROWS_AS(ThreadCommunicator(group, -1), ShapeError);
}

}  // namespace
}  // namespace ltxmem
