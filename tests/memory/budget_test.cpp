// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/memory/budget.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace ltxmem {
namespace {

const std::vector<MemoryPeak> peaks{
    {MemorySpace::device, 1000, "stage 2, block 0, queries", {{"x", 600, 1}, {"slot", 400, 2}}},
    {MemorySpace::pinned, 300, "block 1", {{"rows", 300, 1}}},
    {MemorySpace::host, 50, "", {}},
};

std::vector<MemoryBudget> budgets(std::size_t device, std::size_t host, std::size_t reserve = 0) {
  return {{"device", {MemorySpace::device}, device, reserve}, {"host", {MemorySpace::pinned, MemorySpace::host}, host}};
}

}  // namespace

TEST_CASE("budget: exactly the peak fits, one byte less does not") {
  CHECK_NOTHROW(expects_fit(peaks, budgets(1000, 350)));
  CHECK_FALSE(find_misfit(peaks, budgets(1000, 350)));
  CHECK_THROWS_AS(expects_fit(peaks, budgets(999, 350)), DoesNotFit);
  CHECK_THROWS_AS(expects_fit(peaks, budgets(1000, 349)), DoesNotFit);
}

TEST_CASE("budget: no budget refuses nothing") {
  CHECK_NOTHROW(expects_fit(peaks, {}));
}

TEST_CASE("budget: what is kept in reserve is not to be used") {
  CHECK_NOTHROW(expects_fit(peaks, budgets(1100, 350, 100)));
  CHECK(budgets(1100, 350, 100)[0].plannable_bytes() == 1000);
  CHECK(budgets(99, 350, 100)[0].plannable_bytes() == 0);
  CHECK_THROWS_AS(expects_fit(peaks, budgets(1099, 350, 100)), DoesNotFit);
}

TEST_CASE("budget: a refusal carries space, step, buffers, need, budget and shortfall, and says them") {
  try {
    expects_fit(peaks, budgets(900, 350, 100), "--query-tile 1024");
    FAIL("fits");
  } catch (const DoesNotFit& misfit) {
    CHECK(misfit.space() == MemorySpace::device);
    CHECK(misfit.need_bytes() == 1100);
    CHECK(misfit.budget_bytes() == 900);
    CHECK(misfit.shortfall_bytes() == 200);
    CHECK(misfit.details().peak.step == "stage 2, block 0, queries");
    CHECK(misfit.details().peak.buffers.size() == 2);
    CHECK(std::string(misfit.what()) ==
          "does not fit the device budget: needs 1100 bytes of 900, 200 too many (100 in reserve); peak of device "
          "memory 1000 bytes in stage 2, block 0, queries: x 600, slot 400 (2 buffers); would fit: --query-tile 1024");
  }
}

TEST_CASE("budget: spaces that share one are added up, and the larger is named") {
  const std::string message = test::error_message<DoesNotFit>([] { expects_fit(peaks, budgets(1000, 340)); });
  CHECK(message ==
        "does not fit the host budget: needs 350 bytes of 340, 10 too many; peak of pinned memory 300 bytes in block "
        "1: rows 300");
}

TEST_CASE("budget: a need beyond 2^64 is no small need") {
  constexpr std::size_t most = static_cast<std::size_t>(-1);
  const std::vector<MemoryPeak> huge{{MemorySpace::pinned, most, "", {}}, {MemorySpace::host, most, "", {}}};
  CHECK_THROWS_AS(expects_fit(huge, budgets(1000, 1000)), DoesNotFit);
}

}  // namespace ltxmem
