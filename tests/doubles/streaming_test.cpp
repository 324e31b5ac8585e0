// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "doubles/streaming.hpp"

#include <functional>
#include <string>
#include <vector>

#include "doubles/control.hpp"
#include "support/catch.hpp"

using namespace ltxmem::test;

namespace {

/// The program is right in every seed and leaves nothing behind.
void is_right(const std::function<bool()>& program, doubles::Settings machine = {}) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    INFO("seed " << seed);
    machine.seed = seed;
    doubles::reset(machine);
    CHECK(program());
    CHECK(doubles::findings() == std::vector<std::string>());
    CHECK(doubles::live_allocations() == 0);
  }
}

}  // namespace

TEST_CASE("weights stream to a CUDA device whatever the order of its queues", "[streaming]") {
  for (const std::int64_t slots : {1, 2, 3}) {
    for (const std::int64_t pinned_slots : {1, 2}) {
      INFO(slots << " slots, " << pinned_slots << " pinned");
      is_right([&] { return on_device::weights_arrive(slots, pinned_slots, 1); });
    }
  }
  is_right([] { return on_device::weights_arrive(2, 2, 6); });
}

TEST_CASE("rows visit a CUDA device tile by tile whatever the order of its queues", "[streaming]") {
  for (const std::int64_t tile : {4, 23}) is_right([&] { return on_device::rows_pass(tile); });
  is_right([] { return on_device::staged_rows_stay(); });
  is_right([] { return on_device::slots_change_hands(); });
  is_right([] { return on_device::columns_share_slots(); });
}

TEST_CASE("rows kept on other devices visit the one that computes, whether devices reach each other or not",
          "[streaming]") {
  for (const bool direct : {true, false}) {
    for (const std::int64_t tile : {4, 23}) {
      INFO((direct ? "direct" : "through the host") << ", tiles of " << tile);
      is_right([&] { return on_device::rows_visit_from_other_devices(tile, direct); },
               {.devices = 3, .devices_apart = !direct});
    }
  }
}

TEST_CASE("memory of other devices is refused by name", "[streaming]") {
  doubles::reset({.devices = 2, .memory_bytes = 1000});
  CHECK_NOTHROW(on_device::take_memory_of_other_device(0, 1, 1000));
  CHECK_NOTHROW(on_device::take_memory_of_other_device(1, 0, 0));
  CHECK_THROWS_WITH(on_device::take_memory_of_other_device(0, 1, 1001),
                    "memory of CUDA device 1: out of memory: asked for 1001 bytes with 0 in use of 1000");
  CHECK_THROWS_WITH(on_device::take_memory_of_other_device(1, 1, 8),
                    "memory of CUDA device 1: the device that computes, not another");
  CHECK_THROWS_WITH(on_device::take_memory_of_other_device(0, 2, 8), "CUDA device 2 does not exist, there are 2");
  CHECK(doubles::findings().empty());
  CHECK(doubles::live_allocations() == 0);
}

TEST_CASE("buffers go back after the work that uses them", "[streaming]") {
  is_right([] { return on_device::buffers_outlive_their_work(); });
  is_right([] { return on_device::synchronising_ends_copies(); });
}

TEST_CASE("a device that fails while weights and rows stream ends in an error", "[streaming]") {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    INFO("seed " << seed);
    doubles::reset({.seed = seed});
    CHECK_NOTHROW(on_device::launch_while_streaming());
    doubles::reset({.seed = seed, .failing_launch = 1});
    CHECK_THROWS_WITH(on_device::launch_while_streaming(), Catch::Matchers::Contains("was told to fail"));
  }
}
