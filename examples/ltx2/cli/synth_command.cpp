// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/synth_command.hpp"

#include "cli/failure.hpp"
#include "cli/progress.hpp"
#include "cli/shared_options.hpp"
#include "media/files.hpp"
#include "synth/synthesise.hpp"

namespace ltx2 {

void SynthCommand::add_to(CLI::App& app) {
  app.add_option("DESCRIPTION", description, "JSON file that says what the model holds; see docs/ltx2/cases.md")
      ->required();
  app.add_option("TARGET", target, "File to write (.safetensors)")->required();
  add_progress_option(app, progress);
}

ExitCode SynthCommand::run(const std::stop_token& stop) const {
  const Description parsed = read_description(description.string());
  expect_writable(target.string());
  Progress shown(parse_progress_mode(progress));
  std::size_t reported = 0;
  SynthesisOptions options;
  options.stop = stop;
  options.progress = [&](std::size_t done, std::size_t total) {
    if (reported == 0) shown.begin_stage("synth", static_cast<std::int64_t>(total));
    shown.advance(static_cast<std::int64_t>(done - reported));
    reported = done;
  };
  as_running([&] { synthesise(parsed, target, options); });
  shown.end_stage();
  return ExitCode::done;
}

}  // namespace ltx2
