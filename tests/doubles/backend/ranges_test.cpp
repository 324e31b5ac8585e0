// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdlib>

#include "cuda/runners.hpp"
#include "doubles/nvtx.hpp"
#include "support/catch.hpp"

namespace {

// NVTX reads it once in a process, before any case runs.
const bool is_watched = ::setenv("NVTX_INJECTION64_PATH", LTXMEM_DOUBLE_NVTX, 1) == 0;

}  // namespace

TEST_CASE("Steps are ranges of NVTX with the names that plans give them", "[ranges]") {
  REQUIRE(is_watched);
  ltxmem::double_nvtx::take_ranges();
  ltxmem::test::on_device::name_steps();
  CHECK(ltxmem::double_nvtx::take_ranges() == "conditioning()block 3(self attention())");
}
