// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <stop_token>
#include <string>

#include "cli/exit_code.hpp"
#include "cli/generate_options.hpp"

namespace ltx2 {

/// `ltx2 plan`: what `generate` with the same options would take, without doing it.
class PlanCommand {
 public:
  void add_to(CLI::App& app);
  ExitCode run(const std::stop_token& stop) const;

 private:
  GenerateOptions options_;
  std::string model_;
  std::string device_profile_ = "cpu";
  std::string network_;  ///< empty: that of the profile
  bool json_ = false;
  std::string plot_;
};

}  // namespace ltx2
