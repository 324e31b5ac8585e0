// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/report_file.hpp"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "media/files.hpp"

namespace ltx2 {

ReportFile::ReportFile(std::filesystem::path path) : path_(std::move(path)) {
  if (path_.empty()) return;
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  ltxmem::expects<ltxmem::IoError>(::access(folder.c_str(), W_OK) == 0, "--report ", path_.string(), ": the folder ",
                                   folder.string(), " does not exist or cannot be written to");
  try {
    expect_writable(path_.string());
  } catch (const ltxmem::IoError& error) {
    throw ltxmem::IoError(std::string("--report ") + error.what());
  }
}

void ReportFile::write(std::span<const Report> reports) const {
  if (path_.empty()) return;
  nlohmann::ordered_json json;
  if (reports.size() == 1) {
    json = to_json(reports.front());
  } else {
    json["cases"] = nlohmann::ordered_json::array();
    for (const Report& report : reports) json["cases"].push_back(to_json(report));
  }
  const std::string text = json.dump(1) + "\n";
  write_file(path_.string(), std::as_bytes(std::span(text)));
}

void print_stages(const Report& report) {
  constexpr double mebi = 1024.0 * 1024.0;
  std::fprintf(stderr, "%-14s %10s %10s %12s %12s %14s %12s\n", "stage", "seconds", "predicted", "TFLOP", "GFLOP/s",
               "device MiB", "host MiB");
  for (const StageReport& stage : report.stages) {
    const auto flops = static_cast<double>(stage.operations.flops);
    char predicted[32] = "-";
    if (!report.device_profile.empty()) std::snprintf(predicted, sizeof predicted, "%.2f", stage.predicted_seconds());
    std::fprintf(stderr, "%-14s %10.2f %10s %12.4f %12.1f %14.2f %12.2f\n", stage.name.c_str(), stage.seconds,
                 predicted, flops * 1e-12, stage.seconds > 0 ? flops * 1e-9 / stage.seconds : 0.0,
                 static_cast<double>(stage.measured_peak[0]) / mebi,
                 static_cast<double>(stage.measured_peak[2]) / mebi);
  }
}

}  // namespace ltx2
