// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <stop_token>
#include <string>

#include "cli/exit_code.hpp"

namespace ltx2 {

/// `ltx2 synth`: writes a synthetic model from a description.
struct SynthCommand {
  std::filesystem::path description;
  std::filesystem::path target;
  std::string progress = "auto";

  void add_to(CLI::App& app);
  ExitCode run(const std::stop_token& stop) const;
};

}  // namespace ltx2
