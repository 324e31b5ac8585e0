// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>

namespace ltx2 {

/// Ends the program where it cannot be unwound, because a thread does not return: says the error, removes temporary
/// files, and leaves with ExitCode::failed_running.
[[noreturn]] void end_process(const std::exception_ptr& error);

}  // namespace ltx2
