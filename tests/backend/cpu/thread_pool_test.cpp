// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/thread_pool.hpp"

#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using namespace ltxmem;

TEST_CASE("thread pool: every item runs exactly once") {
  const int threads = GENERATE(1, 2, 5);
  const std::int64_t items = GENERATE(0, 1, 2, 1000);
  ThreadPool pool(threads);
  std::vector<std::atomic<int>> runs(1000);
  pool.parallel_for(items, [&](std::int64_t item, int) { ++runs[static_cast<std::size_t>(item)]; });
  for (std::size_t i = 0; i < runs.size(); ++i) {
    REQUIRE(runs[i] == (static_cast<std::int64_t>(i) < items ? 1 : 0));
  }
}

TEST_CASE("thread pool: worker numbers are below the thread count and never shared at one time") {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<int> collisions = 0;
  pool.parallel_for(2000, [&](std::int64_t, int worker) {
    if (worker < 0 || worker >= 4 || ++inside[static_cast<std::size_t>(worker)] != 1) ++collisions;
    --inside[static_cast<std::size_t>(worker)];
  });
  CHECK(collisions == 0);
}

TEST_CASE("thread pool: what workers wrote is visible afterwards, call after call") {
  ThreadPool pool(3);
  std::vector<std::int64_t> values(500, 0);
  for (int round = 0; round < 200; ++round) {
    pool.parallel_for(500, [&](std::int64_t item, int) { values[static_cast<std::size_t>(item)] += item; });
  }
  for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(values[i] == 200 * static_cast<std::int64_t>(i));
}

TEST_CASE("thread pool: an exception of an item arrives, the rest is skipped, and the pool works on") {
  const int threads = GENERATE(1, 3);
  ThreadPool pool(threads);
  std::atomic<std::int64_t> ran = 0;
  const auto fail_at_ten = [&](std::int64_t item, int) {
    ++ran;
    if (item == 10) throw std::runtime_error("item ten");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  };
  CHECK_THROWS_WITH(pool.parallel_for(100000, fail_at_ten), "item ten");
  CHECK(ran < 100000);
  ran = 0;
  pool.parallel_for(10, [&](std::int64_t, int) { ++ran; });
  CHECK(ran == 10);
}

TEST_CASE("thread pool: a stop token that has fired refuses work") {
  std::stop_source source;
  ThreadPool pool(2, source.get_token());
  CHECK_FALSE(pool.stop_requested());
  source.request_stop();
  CHECK(pool.stop_requested());
  bool ran = false;
  CHECK_THROWS_AS(pool.parallel_for(1, [&](std::int64_t, int) { ran = true; }), Cancelled);
  CHECK_FALSE(ran);
}

TEST_CASE("thread pool: after a stop each other thread begins one item at most") {
  const int threads = GENERATE(1, 2, 5);
  std::stop_source source;
  ThreadPool pool(threads, source.get_token());
  std::atomic<bool> stopped = false;
  std::atomic<int> begun_after = 0;
  CHECK_THROWS_AS(pool.parallel_for(1000000,
                                    [&](std::int64_t item, int) {
                                      if (stopped) ++begun_after;
                                      if (item == 5) {
                                        source.request_stop();
                                        stopped = true;
                                      }
                                    }),
                  Cancelled);
  CHECK(begun_after < threads);
}

TEST_CASE("thread pool: fewer than one thread is refused") {
  CHECK_THROWS_AS(ThreadPool(0), ShapeError);
  CHECK_THROWS_AS(ThreadPool(-1), ShapeError);
  CHECK(ThreadPool(3).threads() == 3);
}
