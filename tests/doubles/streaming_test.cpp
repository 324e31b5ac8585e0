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
void is_right(const std::function<bool()>& program) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    INFO("seed " << seed);
    doubles::reset({.seed = seed});
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
