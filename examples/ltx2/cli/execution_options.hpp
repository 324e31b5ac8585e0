// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plan/search.hpp"
#include "runtime/settings.hpp"

namespace ltx2 {

/// The options that every running subcommand shares: how to execute, not what.
struct ExecutionOptions {
  std::string device = "cpu";
  std::string dtype;
  int threads = 0;  ///< 0: all cores
  std::string scheme = std::string(scheme_name(Settings{}.scheme));
  std::int64_t ffn_chunk = Settings{}.ffn_chunk;
  std::int64_t query_tile = Settings{}.query_tile;
  std::int64_t key_tile = Settings{}.key_tile;
  Automatic automatic;  ///< what is "auto" word for word
  std::int64_t decode_frames = Settings{}.decode_frames;
  std::int64_t decode_tile = Settings{}.decode_tile;
  std::string saved_prefix = "none";
  std::string weights = "resident";
  std::string resident_blocks = "auto";
  std::string page_cache = "auto";
  std::string store = "host";
  std::string stored_blocks = "auto";
  std::optional<int> ranks;  ///< empty: as many as there are processes
  std::string parallel = "sequence";
  std::string ulysses_degree = "1";
  std::string primary = "busy";
  std::vector<double> rank_weights;
  double deadline = std::chrono::duration<double>(Settings{}.ranks.deadline).count();  ///< seconds
  std::string memory_budget;  ///< as written; empty: not stated
  std::string host_budget;
  int verbose = Settings{}.verbose;
  std::string report;
  std::string progress = "auto";

  explicit ExecutionOptions(std::string default_dtype) : dtype(std::move(default_dtype)) {}

  void add_to(CLI::App& app);

  /// The settings with effective values: tiles rounded up to whole quanta, feed-forward chunks no longer than the tile
  /// of queries they run on, threads counted. What stores have free is unlimited unless it is stated (see free_stores).
  /// ShapeError for ranks that cannot work.
  Settings settings() const;

  /// The same for a run. Its ranks are the processes, where there are several, or else threads of this process, so
  /// there are not thousands of them. Throws what expect_cards does for cards that cannot be used.
  Settings settings_to_run(Processes* processes) const;

  /// What the options leave to the plan of a model of so many blocks: with an automatic scheme all that is not stated.
  Automatic automatic_for(std::int64_t blocks) const;

 private:
  void add_rank_options(CLI::App& app);

  std::vector<std::pair<const CLI::Option*, bool Automatic::*>> follow_scheme_;
};

}  // namespace ltx2
