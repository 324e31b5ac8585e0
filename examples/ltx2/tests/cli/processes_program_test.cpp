// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#ifdef LTX2_MPIEXEC

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/mpirun.hpp"
#include "tests/support/program.hpp"
#include "tests/support/rank_case.hpp"
#include "tests/support/report.hpp"

/// Ranks that are processes: `mpirun -n N ltx2 ...`, as users see it.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

/// Starts the program as so many processes.
Ended run_processes(int count, const Words& arguments, const Surroundings& surroundings = {}) {
  return ltx2::test::run_processes({{count, Words{LTX2_PROGRAM} + arguments}}, surroundings);
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// The processes below one that run the program, by rank.
std::map<int, pid_t> ranks_below(pid_t process) {
  std::map<int, pid_t> ranks;
  std::ifstream children("/proc/" + std::to_string(process) + "/task/" + std::to_string(process) + "/children");
  for (pid_t child = 0; children >> child;) {
    std::ifstream environment("/proc/" + std::to_string(child) + "/environ");  // of one that has ended, empty
    for (std::string variable; std::getline(environment, variable, '\0');) {
      for (const std::string name : {"OMPI_COMM_WORLD_RANK=", "PMI_RANK="}) {
        if (variable.starts_with(name)) ranks[std::stoi(variable.substr(name.size()))] = child;
      }
    }
    ranks.merge(ranks_below(child));
  }
  return ranks;
}

enum class Fault { killed, stopped, slow };

/// Runs so often, each time with one fault of one rank at one point, all drawn at random from the seed.
void survive_faults(int turns, unsigned seed) {
  using namespace std::chrono;
  constexpr int count = 3;
  const ScratchFolder folder;
  const auto clip = [&](const std::string& name) {
    return TinyModels::get().generate(folder / name, {"--deadline", "3", "--progress", "json"});
  };
  // How long ranks work that nothing happens to, from the first stage on.
  steady_clock::time_point began;
  steady_clock::time_point ended_at;
  const auto note_begin = [](steady_clock::time_point& time, const std::string& messages) {
    if (time == steady_clock::time_point() && Contains("text").match(messages)) time = steady_clock::now();
  };
  const Ended undisturbed = run_processes(count, clip("expected.y4m"), {.meanwhile = [&](pid_t, const auto& messages) {
                                            note_begin(began, messages);
                                            ended_at = steady_clock::now();
                                          }});
  CAPTURE(undisturbed.messages);
  REQUIRE(undisturbed.code == 0);
  REQUIRE(began != steady_clock::time_point());
  const std::set<std::string> before = leftovers(folder.path());

  std::mt19937 random(seed);
  int hit = 0;
  for (int turn = 0; turn < turns; ++turn) {
    const auto fault = static_cast<Fault>(turn % 3);
    const int victim = static_cast<int>(random() % count);
    const auto delay = duration_cast<microseconds>(ended_at - began) * (random() % 1000) / 1000;
    steady_clock::time_point first_stage;
    steady_clock::time_point struck;
    pid_t rank = 0;
    const Ended ended =
        run_processes(count, clip("out.y4m"), {.meanwhile = [&](pid_t mpirun, const auto& messages) {
                        note_begin(first_stage, messages);
                        if (first_stage == steady_clock::time_point()) return;
                        if (rank == 0 && steady_clock::now() - first_stage >= delay) {
                          const std::map<int, pid_t> ranks = ranks_below(mpirun);
                          if (!ranks.contains(victim)) return;
                          rank = ranks.at(victim);
                          ::kill(rank, fault == Fault::killed ? SIGKILL : SIGSTOP);
                          struck = steady_clock::now();
                        }
                        if (rank == 0 || fault == Fault::killed) return;
                        // One that is stopped when all others have ended is waited for by mpirun alone, for ever.
                        const auto stopped = steady_clock::now() - struck;
                        if (fault == Fault::slow ? stopped >= milliseconds(300)
                                                 : stopped >= seconds(10) && ranks_below(mpirun).size() == 1)
                          ::kill(rank, SIGCONT);
                      }});
    INFO("seed " << seed << ", turn " << turn << ": rank " << victim << " fault " << turn % 3 << " after "
                 << delay.count() << " us");
    CAPTURE(ended.messages);
    std::set<std::string> after = leftovers(folder.path());
    const bool is_written = after.contains(folder / "out.y4m");
    for (const std::string ending : {".y4m", ".wav"}) {  // whole or not there
      if (after.erase(folder / ("out" + ending)) == 0) continue;
      CHECK(file_text(folder / ("out" + ending)) == file_text(folder / ("expected" + ending)));
      std::filesystem::remove(folder / ("out" + ending));
    }
    if (fault == Fault::killed && rank != 0) {  // nobody removes what it was just writing
      std::erase_if(after, [&](const std::string& name) {
        const bool is_its = name.find(".tmp" + std::to_string(rank) + "-") != std::string::npos ||
                            name.find(".tmp-" + std::to_string(rank) + "-") != std::string::npos;
        return is_its && std::filesystem::remove(name);
      });
    }
    CHECK(after == before);
    CHECK(ended.code != -1000);  // nothing hangs
    if (rank == 0 || fault == Fault::slow) {
      CHECK(ended.code == 0);
      CHECK(is_written);
    } else if (ended.code != 0) {
      ++hit;
      if (fault != Fault::stopped) continue;
      // One line names it, unless all work was done: who MPI's own end waits for nobody can say.
      const bool is_done = is_written && Contains("MPI did not end within 3000 ms").match(ended.messages);
      if (is_done) continue;
      CHECK_THAT(ended.messages, Contains("rank " + std::to_string(victim) + " did not come"));
      CHECK(occurrences(ended.messages, " did not come within ") == 1);
    } else {
      CHECK(is_written);  // it had done its work
    }
  }
  CHECK(hit > 0);
}

}  // namespace

TEST_CASE("Reference cases hold on processes, in the memory and the messages that were planned", "[cli][processes]") {
  const ScratchFolder folder;
  const Words check{"check", "--models", golden_models(), "--threads", "1", "--report", folder / "report.json"};
  Words all;
  for (const std::string stage : {"transformer", "denoise"}) {
    for (const std::string& name : case_names(stage)) {
      all.push_back(golden_path("cases/" + stage + "/" + name + ".safetensors"));
    }
  }
  // Ranks that share heads wait for each other hundreds of times in a pass: slow with more processes than processors.
  const Words some{golden_path("cases/transformer/v20_i2v.safetensors"),
                   golden_path("cases/transformer/v23_attention_mask.safetensors"),
                   golden_path("cases/transformer/v23_stg_block1.safetensors"),
                   golden_path("cases/denoise/v23_distilled.safetensors")};
  for (const auto& [count, layout] : {std::pair(2, "sequence"), {3, "sequence"}, {2, "tensor"}, {3, "tensor"}}) {
    CAPTURE(count, layout);
    const Words& cases = std::string(layout) == "sequence" ? all : some;
    const Ended ended = run_processes(count, check + Words{"--parallel", layout} + cases);
    CAPTURE(ended.output, ended.messages);
    REQUIRE(ended.code == 0);
    const nlohmann::json report = read_json(folder / "report.json");
    REQUIRE(report.at("cases").size() == cases.size());
    for (const nlohmann::json& test : report.at("cases")) {
      CHECK(test.at("settings").at("ranks") == count);
      CHECK(test.at("settings").at("parallel") == layout);
      REQUIRE(test.at("ranks").size() == static_cast<std::size_t>(count));
      for (const nlohmann::json& rank : test.at("ranks")) {
        CHECK(rank.at("planned").at("peak_bytes") == rank.at("measured").at("peak_bytes"));
        CHECK(rank.at("planned").at("message_bytes") == rank.at("measured").at("message_bytes"));
        CHECK(rank.at("measured").at("peak_bytes") > 0);
      }
    }
  }
}

TEST_CASE("Processes make the clip that threads make", "[cli][processes]") {
  for (const auto& [count, layout] : {std::pair(3, "sequence"), {3, "tensor"}, {5, "both"}}) {
    CAPTURE(count, layout);
    const ScratchFolder folder;
    const Words options{"--primary", "idle", "--weights", "stream", "--parallel", layout};
    const Ended threads =
        run_ltx2(TinyModels::get().generate(folder / "threads.y4m", options + Words{"--ranks", std::to_string(count)}));
    REQUIRE(threads.code == 0);
    const Ended processes = run_processes(count, TinyModels::get().generate(folder / "processes.y4m", options));
    CAPTURE(processes.messages);
    REQUIRE(processes.code == 0);
    const std::string clip = file_text(folder / "threads.y4m");
    CHECK(clip.size() > 1000);
    CHECK(file_text(folder / "processes.y4m") == clip);
  }
}

TEST_CASE("Processes that were not started alike are refused before any work, by rank and difference",
          "[cli][processes]") {
  const ScratchFolder folder;
  const std::set<std::string> before = listing(folder.path());
  const auto clip = [&](const Words& options, const std::string& checkpoint = "") {
    return TinyModels::get().generate(folder / "out.y4m", options, checkpoint);
  };
  const auto refuses = [&](const Ended& ended, const std::string& text) {
    CAPTURE(ended.messages);
    CHECK(ended.code == 2);
    CHECK_THAT(ended.messages, Contains("ltx2: error: " + text));
    CHECK(listing(folder.path()) == before);
  };
  const Words program{LTX2_PROGRAM};
  refuses(ltx2::test::run_processes({{1, program + clip({"--seed", "1"})}, {1, program + clip({"--seed", "2"})}}),
          "rank 1 differs from rank 0 in its argument 21: '2', expected '1'");
  refuses(run_processes(2, clip({"--ranks", "3"})), "--ranks 3: started as 2 processes");
  refuses(run_processes(2, clip({"--store", "rank:1"})), "--store rank 1: ranks are processes");
}

TEST_CASE("Processes that are killed, stopped or slow at random points end the run or do not change it",
          "[cli][processes][faults]") {
  survive_faults(10, 6);
}

TEST_CASE("A hundred faults of processes", "[cli][processes][faults][long]") {
  survive_faults(100, 60);
}

#endif
