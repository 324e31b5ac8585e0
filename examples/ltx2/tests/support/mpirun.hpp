// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// Programs under mpirun; for tests that are compiled with its path in LTX2_MPIEXEC.

#ifdef LTX2_MPIEXEC

namespace ltx2::test {

/// Starts programs, each with its arguments and as so many processes.
inline Ended run_processes(const std::vector<std::pair<int, Words>>& programs, const Surroundings& surroundings = {}) {
  // More ranks than processors, and as root in a container. Open MPI takes this from the environment; others ignore it.
  for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                           "OMPI_MCA_rmaps_base_oversubscribe", "OMPI_MCA_mpi_yield_when_idle"}) {
    ::setenv(name, "1", 1);
  }
  Words words{LTX2_MPIEXEC};
  for (const auto& [count, program] : programs) {
    if (words.size() > 1) words.emplace_back(":");
    words = words + Words{LTX2_MPIEXEC_COUNT, std::to_string(count)} + program;
  }
  return run_program(words, surroundings);
}

}  // namespace ltx2::test

#endif
