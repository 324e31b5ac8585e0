// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/execution_options.hpp"
#include "cli/exit_code.hpp"

namespace ltx2 {

/// `ltx2 check`: runs cases with known answers and compares.
struct CheckCommand {
  ExecutionOptions execution{"f32"};
  std::vector<std::filesystem::path> cases;
  std::filesystem::path models;
  std::filesystem::path checkpoint;
  std::filesystem::path output;

  void add_to(CLI::App& app);
  /// Of several processes, only the primary writes.
  ExitCode run(const std::stop_token& stop, Processes* processes) const;
};

}  // namespace ltx2
