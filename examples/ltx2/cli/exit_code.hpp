// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ltx2 {

/// What the program's exit codes mean.
enum class ExitCode : int {
  done = 0,
  check_failed = 1,    ///< a comparison of `check` failed
  bad_input = 2,       ///< bad usage, or an input file that is missing or bad
  does_not_fit = 3,    ///< a budget cannot be met
  failed_running = 4,  ///< input and output, device or memory trouble in the middle of the run
  interrupted = 130,
};

}  // namespace ltx2
