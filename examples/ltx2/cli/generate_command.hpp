// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <stop_token>

#include "cli/exit_code.hpp"
#include "cli/generate_options.hpp"

namespace ltx2 {

/// `ltx2 generate`: from a prompt to a video file with sound.
class GenerateCommand {
 public:
  void add_to(CLI::App& app);
  const ExecutionOptions& execution() const noexcept { return options_.execution; }
  /// Of several processes, only the primary writes.
  ExitCode run(const std::stop_token& stop, Processes* processes) const;

 private:
  GenerateOptions options_;
  std::string device_profile_;  ///< empty: none of this machine
  bool resumes_ = false;
};

}  // namespace ltx2
