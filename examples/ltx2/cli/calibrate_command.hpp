// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <stop_token>
#include <string>

#include "cli/exit_code.hpp"

namespace ltx2 {

/// `ltx2 calibrate`: measures this machine into a device profile.
struct CalibrateCommand {
  std::filesystem::path output;
  std::string folder = ".";
  int threads = 0;  ///< 0: all cores
  bool quick = false;
  std::string progress = "auto";

  void add_to(CLI::App& app);
  ExitCode run(const std::stop_token& stop) const;
};

}  // namespace ltx2
