// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>

#include "cli/exit_code.hpp"
#include "cli/interrupt.hpp"
#include "cli/program.hpp"

int main(int argc, char** argv) {
  try {
    const ltx2::Interrupt interrupt([] { std::fputs("\nltx2: stopping (once more to end at once)\n", stderr); });
    return ltx2::run_program(argc, argv, interrupt.token());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ltx2: error: %s\n", error.what());
    return static_cast<int>(ltx2::ExitCode::failed_running);
  }
}
