// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"

namespace {

using ltx2::Progress;
using ltx2::progress_bar;
using ltx2::ProgressMode;
using ltx2::StageProgress;

/// A clock that a test sets and a text that collects what is written.
struct Stand {
  double now = 100.0;
  std::string text;

  Progress::Surroundings surroundings(bool terminal = true) {
    return {.write = [this](std::string_view part) { text += part; },
            .seconds = [this] { return now; },
            .is_terminal = terminal,
            .columns = 80,
            .own_thread = false};
  }
  std::string take() { return std::exchange(text, std::string()); }
};

std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> objects;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
  return objects;
}

TEST_CASE("durations are minutes and seconds, hours when needed") {
  CHECK(ltx2::format_duration(0) == "0:00");
  CHECK(ltx2::format_duration(7.4) == "0:07");
  CHECK(ltx2::format_duration(59.6) == "1:00");
  CHECK(ltx2::format_duration(754) == "12:34");
  CHECK(ltx2::format_duration(3723) == "1:02:03");
  CHECK(ltx2::format_duration(-1) == "0:00");
}

TEST_CASE("the remaining time follows from the pace so far") {
  CHECK(StageProgress{"a", 3, 8, 12.0}.remaining_s() == Approx(20.0));
  CHECK(StageProgress{"a", 8, 8, 12.0}.remaining_s() == Approx(0.0));
  CHECK(StageProgress{"a", 9, 8, 12.0}.remaining_s() == Approx(0.0));
  CHECK_FALSE(StageProgress{"a", 0, 8, 12.0}.remaining_s().has_value());
  CHECK_FALSE(StageProgress{"a", 3, 0, 12.0}.remaining_s().has_value());
}

TEST_CASE("a bar shows name, share, counts and times") {
  CHECK(progress_bar({"denoise", 2, 8, 12.0}, 54) == "denoise [==>       ] 2/8  25%  0:12 elapsed, 0:36 left");
}

TEST_CASE("a bar grows with the terminal up to forty columns") {
  CHECK(progress_bar({"a", 1, 2, 1.0}, 300).find("[" + std::string(20, '=') + ">" + std::string(19, ' ') + "]") !=
        std::string::npos);
}

TEST_CASE("a full bar is full and a bar without progress empty") {
  CHECK(progress_bar({"a", 5, 5, 1.0}, 300).find("[" + std::string(40, '=') + "]") != std::string::npos);
  CHECK(progress_bar({"a", 0, 5, 1.0}, 300).find("[>" + std::string(39, ' ') + "] 0/5  0%  0:01 elapsed") !=
        std::string::npos);
}

TEST_CASE("a bar never exceeds the terminal") {
  for (int columns = 0; columns < 120; ++columns) {
    CHECK(progress_bar({"a stage with a long name", 123, 4567, 89.0}, columns).size() <=
          static_cast<std::size_t>(columns));
  }
}

TEST_CASE("more units than announced do not overflow the bar") {
  CHECK(progress_bar({"a", 9, 5, 1.0}, 300).find("] 9/5  100%") != std::string::npos);
}

TEST_CASE("a stage of unknown length shows its count") {
  CHECK(progress_bar({"read", 12, 0, 5.0}, 80) == "read  12  0:05 elapsed");
}

TEST_CASE("a stage is drawn in place and leaves a line at its end") {
  Stand stand;
  Progress progress(ProgressMode::bar, stand.surroundings());
  progress.begin_stage("denoise", 4);
  progress.tick();
  CHECK(stand.take().starts_with("\rdenoise ["));
  progress.advance(2);
  stand.now += 10;
  progress.tick();
  const std::string half = stand.take();
  CHECK(half.find("2/4  50%  0:10 elapsed, 0:10 left") != std::string::npos);
  CHECK(half.find('\n') == std::string::npos);
  progress.advance(2);
  progress.end_stage();
  const std::string end = stand.take();
  CHECK(end.find("4/4  100%") != std::string::npos);
  CHECK(end.ends_with("\x1b[K\n"));
}

TEST_CASE("nothing is redrawn while nothing changes") {
  Stand stand;
  Progress progress(ProgressMode::bar, stand.surroundings());
  progress.begin_stage("a", 4);
  progress.tick();
  stand.take();
  progress.tick();
  CHECK(stand.take().empty());
  stand.now += 1;
  progress.tick();
  CHECK_FALSE(stand.take().empty());
}

TEST_CASE("advancing alone writes nothing") {
  Stand stand;
  Progress progress(ProgressMode::bar, stand.surroundings());
  progress.begin_stage("a", 4);
  for (int i = 0; i < 1000; ++i) progress.advance();
  CHECK(stand.text.empty());
}

TEST_CASE("a new stage ends the one before and starts its own count and clock") {
  Stand stand;
  Progress progress(ProgressMode::bar, stand.surroundings());
  progress.begin_stage("first", 4);
  progress.advance(4);
  stand.now += 60;
  progress.begin_stage("second", 2);
  CHECK(stand.take().find("first [") != std::string::npos);
  progress.tick();
  CHECK(stand.take().find("] 0/2  0%  0:00 elapsed") != std::string::npos);
}

TEST_CASE("automatic is a bar on a terminal and silent elsewhere") {
  Stand stand;
  for (const bool terminal : {true, false}) {
    {
      Progress progress(ProgressMode::automatic, stand.surroundings(terminal));
      progress.begin_stage("a", 4);
      progress.advance();
      progress.tick();
      progress.end_stage();
    }
    CHECK(stand.take().empty() == !terminal);
  }
}

TEST_CASE("none writes no progress") {
  Stand stand;
  {
    Progress progress(ProgressMode::none, stand.surroundings());
    progress.begin_stage("a", 4);
    progress.tick();
    progress.end_stage();
  }
  CHECK(stand.text.empty());
}

TEST_CASE("JSON progress is one object a line") {
  Stand stand;
  Progress progress(ProgressMode::json, stand.surroundings(false));
  progress.begin_stage("denoise \"x\"", 8);
  progress.advance(3);
  stand.now += 12.04;
  progress.tick();
  progress.end_stage();
  const auto events = json_lines(stand.text);
  REQUIRE(events.size() == 3);
  CHECK(events[0] == nlohmann::json{{"event", "begin"},
                                    {"stage", "denoise \"x\""},
                                    {"done", 0},
                                    {"total", 8},
                                    {"elapsed_s", 0.0},
                                    {"remaining_s", nullptr}});
  CHECK(events[1] == nlohmann::json{{"event", "progress"},
                                    {"stage", "denoise \"x\""},
                                    {"done", 3},
                                    {"total", 8},
                                    {"elapsed_s", 12.0},
                                    {"remaining_s", 20.1}});
  CHECK(events[2].at("event") == "end");
}

TEST_CASE("JSON progress speaks only when the count changed") {
  Stand stand;
  Progress progress(ProgressMode::json, stand.surroundings());
  progress.begin_stage("a", 8);
  stand.take();
  stand.now += 5;
  progress.tick();
  CHECK(stand.take().empty());
  progress.advance();
  progress.tick();
  progress.tick();
  CHECK(json_lines(stand.take()).size() == 1);
}

TEST_CASE("a stage left by an exception ends its line, in JSON as abandoned") {
  Stand stand;
  {
    Progress progress(ProgressMode::bar, stand.surroundings());
    progress.begin_stage("a", 8);
    progress.tick();
  }
  CHECK(stand.take().ends_with("\n"));
  {
    Progress progress(ProgressMode::json, stand.surroundings());
    progress.begin_stage("a", 8);
  }
  CHECK(json_lines(stand.take()).back().at("event") == "abandoned");
}

TEST_CASE("a message stands above the bar") {
  Stand stand;
  Progress progress(ProgressMode::bar, stand.surroundings());
  progress.begin_stage("a", 8);
  progress.tick();
  const std::string bar = stand.take().substr(1);
  progress.message("ltx2: warning: something");
  CHECK(stand.take() == "\r\x1b[Kltx2: warning: something\n" + bar.substr(0, bar.find('\x1b')));
}

TEST_CASE("messages are written in every mode") {
  for (const ProgressMode mode : {ProgressMode::bar, ProgressMode::none}) {
    Stand stand;
    Progress progress(mode, stand.surroundings());
    progress.message("text");
    CHECK(stand.text == "text\n");
  }
  Stand stand;
  Progress progress(ProgressMode::json, stand.surroundings());
  progress.message("text");
  CHECK(json_lines(stand.text) == std::vector<nlohmann::json>{{{"event", "message"}, {"text", "text"}}});
}

TEST_CASE("progress modes have names") {
  CHECK(ltx2::parse_progress_mode("auto") == ProgressMode::automatic);
  CHECK(ltx2::parse_progress_mode("bar") == ProgressMode::bar);
  CHECK(ltx2::parse_progress_mode("json") == ProgressMode::json);
  CHECK(ltx2::parse_progress_mode("none") == ProgressMode::none);
  CHECK_THROWS_AS(ltx2::parse_progress_mode("yes"), ltxmem::ShapeError);
}

TEST_CASE("its own thread draws at most ten times a second while many threads advance") {
  std::mutex mutex;
  int writes = 0;
  std::string last;
  const auto start = std::chrono::steady_clock::now();
  {
    Progress progress(ProgressMode::json, {.write =
                                               [&](std::string_view text) {
                                                 const std::lock_guard lock(mutex);
                                                 ++writes;
                                                 last = text;
                                               },
                                           .seconds = {},
                                           .is_terminal = {},
                                           .columns = {},
                                           .own_thread = true});
    progress.begin_stage("a", 4000);
    {
      std::vector<std::jthread> workers;
      for (int t = 0; t < 4; ++t) {
        workers.emplace_back([&progress] {
          for (int i = 0; i < 1000; ++i) {
            progress.advance();
            if (i % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(30));
          }
        });
      }
    }
    progress.end_stage();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto end = nlohmann::json::parse(last);
  CHECK(end.at("event") == "end");
  CHECK(end.at("done") == 4000);
  CHECK(writes >= 3);
  CHECK(writes <= 3 + seconds * 10.0);
}

TEST_CASE("a progress without any stage ends at once") {
  const auto start = std::chrono::steady_clock::now();
  { Progress progress(ProgressMode::json); }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
}

}  // namespace
