// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/execution_options.hpp"
#include "cli/messages.hpp"
#include "cli/progress.hpp"
#include "runtime/runtime.hpp"
#include "runtime/signs_of_life.hpp"

namespace ltx2 {

/// Shows the stages and named steps of a runtime as progress while it lives. Of several processes, the primary does,
/// and steps are signs of life for the others.
class RunProgress {
 public:
  RunProgress(Runtime& runtime, const ExecutionOptions& options)
      : report_(runtime.report()),
        is_shown_(runtime.is_primary()),
        progress_(options.verbose == 0 || !is_shown_ ? ProgressMode::none : parse_progress_mode(options.progress)) {
    runtime.watch({.stage_began = [this](const std::string& name) { progress_.begin_stage(name, 0); },
                   .announced = [this](std::int64_t steps) { progress_.extend(steps); },
                   .stepped =
                       [this, processes = runtime.settings().ranks.processes] {
                         progress_.advance();
                         if (processes != nullptr) signs_of_life_(*processes);
                       },
                   .stage_ended = [this] { progress_.end_stage(); },
                   .said = [this](const std::string& line) { progress_.message(line); }});
  }
  RunProgress(const RunProgress&) = delete;
  RunProgress& operator=(const RunProgress&) = delete;

  /// A warning for people, above the bar, and for the report.
  void warn(const std::string& message) {
    report_.warnings.push_back(message);
    if (is_shown_) progress_.message(warning_text(message));
  }

 private:
  Report& report_;
  bool is_shown_;
  Progress progress_;
  SignsOfLife signs_of_life_;
};

}  // namespace ltx2
