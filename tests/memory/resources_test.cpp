// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/memory/limiting_resource.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

TEST_CASE("host resource: memory is aligned and writable") {
  HostResource host;
  for (const std::size_t alignment : {16U, 256U, 4096U}) {
    void* pointer = host.allocate(1000, alignment);
    CHECK(reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0);
    std::memset(pointer, 0xab, 1000);
    host.deallocate(pointer, 1000, alignment);
  }
  host.deallocate(host.allocate(0, 256), 0, 256);
}

TEST_CASE("counting resource: current, peak and total") {
  HostResource host;
  CountingResource counting(host);
  void* a = counting.allocate(100, 256);
  void* b = counting.allocate(50, 256);
  CHECK(counting.current_bytes() == 150);
  counting.deallocate(a, 100, 256);
  void* c = counting.allocate(30, 256);
  CHECK(counting.current_bytes() == 80);
  CHECK(counting.peak_bytes() == 150);
  CHECK(counting.total_bytes() == 180);
  counting.reset_peak();
  CHECK(counting.peak_bytes() == 80);
  counting.deallocate(b, 50, 256);
  counting.deallocate(c, 30, 256);
  CHECK(counting.current_bytes() == 0);
}

TEST_CASE("counting resource: counts nothing for a request that was refused") {
  HostResource host;
  LimitingResource limiting(host, 100);
  CountingResource counting(limiting);
  CHECK_THROWS_AS(counting.allocate(101, 256), OutOfMemory);
  CHECK(counting.current_bytes() == 0);
  CHECK(counting.peak_bytes() == 0);
  CHECK(counting.total_bytes() == 0);
}

TEST_CASE("counting resource: threads together get every byte counted") {
  HostResource host;
  CountingResource counting(host);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&counting] {
      for (int round = 0; round < 500; ++round) counting.deallocate(counting.allocate(64, 64), 64, 64);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(counting.current_bytes() == 0);
  CHECK(counting.total_bytes() == 4 * 500 * 64);
  CHECK(counting.peak_bytes() >= 64);
  CHECK(counting.peak_bytes() <= 4 * 64);
}

TEST_CASE("limiting resource: the limit itself is served, one byte more is not") {
  HostResource host;
  LimitingResource limiting(host, 1000, "budget");
  void* a = limiting.allocate(600, 256);
  void* b = limiting.allocate(400, 256);
  CHECK(limiting.current_bytes() == 1000);
  try {
    limiting.allocate(1, 256);
    FAIL("served");
  } catch (const OutOfMemory& error) {
    CHECK(std::string(error.what()) == "budget: out of memory: asked for 1 bytes with 1000 in use of 1000");
  }
  limiting.deallocate(a, 600, 256);
  CHECK_THROWS_AS(limiting.allocate(601, 256), OutOfMemory);
  limiting.deallocate(limiting.allocate(600, 256), 600, 256);
  limiting.deallocate(b, 400, 256);
  CHECK(limiting.current_bytes() == 0);
  CHECK_THROWS_AS(limiting.allocate(static_cast<std::size_t>(-1), 256), OutOfMemory);
}

TEST_CASE("limiting resource: what the resource below refuses is not held against the limit") {
  HostResource host;
  LimitingResource inner(host, 10);
  LimitingResource outer(inner, 1000);
  CHECK_THROWS_AS(outer.allocate(11, 256), OutOfMemory);
  CHECK(outer.current_bytes() == 0);
}

TEST_CASE("limiting resource: threads together never pass the limit") {
  HostResource host;
  CountingResource counting(host);
  LimitingResource limiting(counting, 128);
  std::atomic<int> served = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        try {
          void* pointer = limiting.allocate(64, 64);
          ++served;
          limiting.deallocate(pointer, 64, 64);
        } catch (const OutOfMemory&) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(served > 0);
  CHECK(counting.peak_bytes() <= 128);
  CHECK(limiting.current_bytes() == 0);
}

TEST_CASE("resource reference: forwards to what it was made from") {
  HostResource host;
  CountingResource counting(host);
  const ResourceRef reference(counting);
  const ResourceRef copy = reference;
  void* pointer = copy.allocate(77, 256);
  CHECK(counting.current_bytes() == 77);
  reference.deallocate(pointer, 77, 256);
  CHECK(counting.current_bytes() == 0);
}

TEST_CASE("resource: buffers are rounded up to whole units") {
  static_assert(aligned_bytes(0) == 0 && aligned_bytes(1) == buffer_alignment &&
                aligned_bytes(buffer_alignment) == buffer_alignment &&
                aligned_bytes(buffer_alignment + 1) == 2 * buffer_alignment);
  SUCCEED();
}
