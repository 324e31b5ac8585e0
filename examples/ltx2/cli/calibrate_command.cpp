// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/calibrate_command.hpp"

#include <array>
#include <cstdio>
#include <span>

#include "cli/failure.hpp"
#include "cli/messages.hpp"
#include "cli/progress.hpp"
#include "cli/shared_options.hpp"
#include "ltxmem/backend/dry_run/device_profile_json.hpp"
#include "media/files.hpp"
#include "runtime/calibrate.hpp"

namespace ltx2 {
namespace {

std::string value_text(const Measurement& measurement) {
  std::array<char, 48> text{};
  if (measurement.unit == "s") {
    std::snprintf(text.data(), text.size(), "%10.2f us", measurement.value * 1e6);
  } else {
    std::snprintf(text.data(), text.size(), "%10.2f G%s", measurement.value * 1e-9, measurement.unit.c_str());
  }
  return text.data();
}

}  // namespace

void CalibrateCommand::add_to(CLI::App& app) {
  app.add_option("--output", output, "Write the profile to this JSON file, for ltx2 plan --device-profile");
  app.add_option("--folder", folder,
                 "Measure the disk of this folder, through a temporary file: the folder of the model files, say")
      ->capture_default_str();
  add_threads_option(app, threads, "Threads; 0 takes every core");
  app.add_flag("--quick", quick, "Small amounts and few repetitions: less exact, done in a second or two");
  add_progress_option(app, progress);
}

ExitCode CalibrateCommand::run(const std::stop_token& stop) const {
  if (!output.empty()) expect_writable(output.string());
  { const TemporaryOutput probe(folder + "/ltx2-calibrate"); }
  Progress shown(parse_progress_mode(progress));
  shown.begin_stage("calibrate", calibration_measurements);

  Calibration calibration;
  calibration.threads = thread_count(threads);
  calibration.folder = folder;
  calibration.stop = stop;
  if (quick) {
    calibration.seconds = 0.02;
    calibration.rows = 256;
    calibration.keys = 512;
    calibration.heads = 8;
    calibration.copy_bytes = calibration.file_bytes = std::size_t{1} << 24;
  }
  bool first = true;
  calibration.began = [&](const std::string&) {
    if (!first) shown.advance();
    first = false;
  };
  return as_running([&] {
    const CalibrationResult result = calibrate(calibration);
    shown.advance();
    shown.end_stage();
    std::printf("measured with %d threads\n", calibration.threads);
    for (const Measurement& measurement : result.measurements) {
      std::printf("  %-26s %s\n", measurement.what.c_str(), value_text(measurement).c_str());
    }
    for (const std::string& warning : result.warnings) std::fprintf(stderr, "%s\n", warning_text(warning).c_str());
    if (!output.empty()) {
      const std::string text = ltxmem::device_profile_json(result.profile);
      write_file(output.string(), std::as_bytes(std::span(text)));
      std::printf("%s\n", output.string().c_str());
    }
    return ExitCode::done;
  });
}

}  // namespace ltx2
