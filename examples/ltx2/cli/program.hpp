// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

namespace ltx2 {

/// The whole program: reads the command line, runs a subcommand and returns its exit code (cli/exit_code.hpp). Messages
/// to people go to stderr and start with "ltx2: error: " or "ltx2: warning: ".
int run_program(int argc, const char* const* argv, const std::stop_token& stop);

}  // namespace ltx2
