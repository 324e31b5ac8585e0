// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>

#include "runtime/report.hpp"

namespace ltx2 {

/// Where --report goes. Made before the run so that a place that cannot be written to is known before the work.
class ReportFile {
 public:
  /// An empty path: no report. IoError when the folder does not exist or cannot be written to.
  explicit ReportFile(std::filesystem::path path);

  /// One report as an object, several as {"cases": [...]}; under a temporary name, then renamed.
  void write(std::span<const Report> reports) const;

 private:
  std::filesystem::path path_;
};

/// Memory, time and speed of every stage, as a table on stderr.
void print_stages(const Report& report);

}  // namespace ltx2
