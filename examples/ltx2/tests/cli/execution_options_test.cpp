// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/execution_options.hpp"

#include "support/catch.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// Execution options: what is asked for, and the effective values that a report states.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

ltx2::Settings settings_of(std::int64_t ffn_chunk, std::int64_t query_tile, std::int64_t key_tile) {
  ltx2::ExecutionOptions options("f32");
  options.ffn_chunk = ffn_chunk;
  options.query_tile = query_tile;
  options.key_tile = key_tile;
  return options.settings();
}

/// The report of a denoise case run with these options.
nlohmann::json report_with(const Words& options) {
  const ScratchFolder folder;
  const Words words{"check",     golden_path("cases/denoise/v23_guided.safetensors"),
                    "--models",  TinyModels::get().folder(),
                    "--threads", "1",
                    "--report",  folder / "report.json"};
  const Ended ended = run_ltx2(words + options);
  CAPTURE(ended.messages);
  REQUIRE(ended.code == 0);
  return read_json(folder / "report.json");
}

}  // namespace

TEST_CASE("Tiles and chunks take effect in whole quanta", "[cli]") {
  const ltx2::Settings settings = settings_of(1, 257, 300);
  CHECK(settings.ffn_chunk == 256);
  CHECK(settings.query_tile == 512);
  CHECK(settings.key_tile == 512);
}

TEST_CASE("A feed-forward chunk is never longer than the tile of queries it runs on", "[cli]") {
  CHECK(settings_of(4096, 512, 8192).ffn_chunk == 512);
  CHECK(settings_of(4096, 300, 8192).ffn_chunk == 512);
  CHECK(settings_of(256, 512, 8192).ffn_chunk == 256);
  CHECK(settings_of(4096, 8192, 8192).ffn_chunk == 4096);
}

TEST_CASE("A report states effective settings, and fed back as options they give the same plan", "[cli]") {
  const nlohmann::json first = report_with({"--ffn-chunk", "4000", "--query-tile", "300", "--key-tile", "1"});
  const nlohmann::json& settings = first.at("settings");
  CHECK(settings.at("ffn-chunk") == 512);
  CHECK(settings.at("query-tile") == 512);
  CHECK(settings.at("key-tile") == 256);
  const nlohmann::json second = report_with(stated_options(first, "threads"));  // given already
  CHECK(second.at("settings") == settings);
  CHECK(second.at("planned") == first.at("planned"));
}

TEST_CASE("The help says that a query tile bounds the feed-forward chunk", "[cli]") {
  CHECK_THAT(run_ltx2({"generate", "--help"}).output, Contains("at most a query tile"));
}
