// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/backend/cpu/copy_worker.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace ltxmem {
namespace {

TEST_CASE("copies of one queue run in the order they were pushed") {
  std::vector<int> order;
  CopyWorker worker;
  std::uint64_t last = 0;
  for (int i = 0; i < 200; ++i) last = worker.push([&order, i] { order.push_back(i); });
  worker.wait(last);
  REQUIRE(order.size() == 200);
  for (int i = 0; i < 200; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("waiting for a ticket waits for that copy and the ones before it only") {
  std::atomic<bool> release = false;
  std::atomic<int> done = 0;
  CopyWorker worker;
  worker.push([&] { ++done; });
  const std::uint64_t second = worker.push([&] { ++done; });
  const std::uint64_t third = worker.push([&] {
    while (!release) std::this_thread::yield();
    ++done;
  });
  worker.wait(second);
  CHECK(done == 2);
  release = true;
  worker.wait(third);
  CHECK(done == 3);
  worker.wait(second);
}

TEST_CASE("a copy runs beside the thread that pushed it") {
  std::thread::id ran_on;
  CopyWorker worker;
  worker.wait(worker.push([&] { ran_on = std::this_thread::get_id(); }));
  CHECK(ran_on != std::this_thread::get_id());
}

TEST_CASE("destroying the worker finishes what was pushed") {
  std::atomic<int> done = 0;
  {
    CopyWorker worker;
    for (int i = 0; i < 50; ++i) {
      worker.push([&] {
        std::this_thread::sleep_for(std::chrono::microseconds(20));
        ++done;
      });
    }
  }
  CHECK(done == 50);
}

}  // namespace
}  // namespace ltxmem
