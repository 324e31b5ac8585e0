// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string>

/// Options that several subcommands have alike.

namespace ltx2 {

/// --progress, as parse_progress_mode takes it.
CLI::Option* add_progress_option(CLI::App& app, std::string& progress);

/// --threads; 0 stands for every core.
CLI::Option* add_threads_option(CLI::App& app, int& threads, const std::string& help);

/// How many threads a stated number means.
int thread_count(int threads);

}  // namespace ltx2
