// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/end_process.hpp"

#include <cstdio>
#include <cstdlib>

#include "cli/exit_code.hpp"
#include "cli/messages.hpp"
#include "media/cleanup.hpp"

namespace ltx2 {

void end_process(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    std::fprintf(stderr, "%s\n", error_text(known.what()).c_str());
  }
  Cleanup::process().remove_everything_for_exit();
  std::_Exit(static_cast<int>(ExitCode::failed_running));
}

}  // namespace ltx2
