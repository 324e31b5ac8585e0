// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/model_report.hpp"
#include "cli/exit_code.hpp"

namespace ltx2 {

/// `ltx2 info`: checks model files completely and says what they hold.
struct InfoCommand {
  std::vector<std::filesystem::path> files;

  void add_to(CLI::App& app);

  /// Prints every good file and goes on after a bad one; bad_input when there was one.
  ExitCode run() const;
};

/// A report as lines for people.
std::string info_text(const ModelReport& report);

}  // namespace ltx2
