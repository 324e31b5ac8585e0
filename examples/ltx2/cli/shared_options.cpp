// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/shared_options.hpp"

#include <algorithm>
#include <thread>

namespace ltx2 {

CLI::Option* add_progress_option(CLI::App& app, std::string& progress) {
  return app
      .add_option("--progress", progress,
                  "auto (a bar on a terminal), bar, json (one object a line, on stderr) or none")
      ->check(CLI::IsMember({"auto", "bar", "json", "none"}))
      ->capture_default_str();
}

CLI::Option* add_threads_option(CLI::App& app, int& threads, const std::string& help) {
  return app.add_option("--threads", threads, help)->check(CLI::Range(0, 4096))->capture_default_str();
}

int thread_count(int threads) {
  return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace ltx2
