// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// `--ranks` and what belongs to it, as users see them.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

const Words clip{"plan", "--model",   "2.3",    "--width",          "1920",    "--height",  "1088",  "--num-frames",
                 "481",  "--weights", "stream", "--device-profile", "rtx4090", "--network", "nvlink"};

nlohmann::json plan_with(const Words& options) {
  const Ended ended = run_ltx2(clip + Words{"--json"} + options);
  CAPTURE(ended.messages);
  REQUIRE(ended.code == 0);
  return nlohmann::json::parse(ended.output);
}

}  // namespace

TEST_CASE("A clip is generated on three ranks, of which one is idle", "[cli][ranks]") {
  const ScratchFolder folder;
  const Ended ended = run_ltx2(
      TinyModels::get().generate(folder / "out.y4m", {"--ranks", "3", "--primary", "idle", "--rank-weights", "2,1",
                                                      "--scheme", "E2", "--report", folder / "report.json"}));
  CAPTURE(ended.messages);
  REQUIRE(ended.code == 0);
  const nlohmann::json report = read_json(folder / "report.json");
  const nlohmann::json& settings = report.at("settings");
  CHECK(settings.at("ranks") == 3);
  CHECK(settings.at("parallel") == "sequence");
  CHECK(settings.at("primary") == "idle");
  CHECK(settings.at("rank-weights") == "2.0,1.0");
  const nlohmann::json& ranks = report.at("ranks");
  REQUIRE(ranks.size() == 3);
  for (const nlohmann::json& rank : ranks) {
    CHECK(rank.at("planned").at("peak_bytes") == rank.at("measured").at("peak_bytes"));
    CHECK(rank.at("planned").at("message_bytes") == rank.at("measured").at("message_bytes"));
    CHECK(rank.at("measured").at("peak_bytes") > 0);
    CHECK((rank.at("measured").at("message_bytes") == 0) == (rank.at("rank") == 0));
  }
  CHECK(ranks[1].at("measured").at("peak_bytes") > ranks[2].at("measured").at("peak_bytes"));
}

TEST_CASE("A clip is generated on ranks that share heads, and on a grid", "[cli][ranks]") {
  struct Grid {
    Words options;
    int sharing_tokens;
    int sharing_heads;
  };
  for (const Grid& grid :
       {Grid{{"--ranks", "3", "--parallel", "tensor", "--scheme", "E3", "--rank-weights", "2,1,0"}, 1, 3},
        Grid{{"--ranks", "6", "--parallel", "tensor"}, 1, 6},  // more than heads
        Grid{{"--ranks", "5", "--parallel", "both", "--primary", "idle", "--scheme", "auto"}, 2, 2}}) {
    const ScratchFolder folder;
    const Ended ended = run_ltx2(TinyModels::get().generate(
        folder / "out.y4m", grid.options + Words{"--weights", "stream", "--report", folder / "report.json"}));
    CAPTURE(ended.messages);
    REQUIRE(ended.code == 0);
    const nlohmann::json report = read_json(folder / "report.json");
    CHECK(report.at("settings").at("parallel") == grid.options[3]);
    CHECK(report.at("grid").at("sharing_tokens") == grid.sharing_tokens);
    CHECK(report.at("grid").at("sharing_heads") == grid.sharing_heads);
    for (const nlohmann::json& rank : report.at("ranks")) {
      CHECK(rank.at("planned").at("peak_bytes") == rank.at("measured").at("peak_bytes"));
      CHECK(rank.at("planned").at("message_bytes") == rank.at("measured").at("message_bytes"));
    }
  }
}

TEST_CASE("A reference case is checked on two ranks", "[cli][ranks]") {
  for (const char* layout : {"sequence", "tensor"}) {
    const ScratchFolder folder;
    const Ended ended =
        run_ltx2({"check", golden_path("cases/denoise/v23_guided.safetensors"), "--models", TinyModels::get().folder(),
                  "--ranks", "2", "--parallel", layout, "--report", folder / "report.json"});
    CAPTURE(ended.messages, ended.output);
    CHECK(ended.code == 0);
    CHECK(read_json(folder / "report.json").at("ranks").size() == 2);
    CHECK(read_json(folder / "report.json").at("settings").at("parallel") == layout);
  }
}

TEST_CASE("A plan says what any number of ranks takes, alike ones in one line", "[cli][plan][ranks]") {
  const auto rank_peak = [](const nlohmann::json& job) {
    return job.at("ranks").at(1).at("planned").at("peak_bytes").get<double>();
  };
  CHECK_FALSE(plan_with({}).contains("ranks"));
  const nlohmann::json two = plan_with({"--ranks", "2"});
  const nlohmann::json eight = plan_with({"--ranks", "8"});
  REQUIRE(eight.at("ranks").size() == 8);
  CHECK(rank_peak(eight) < 0.7 * rank_peak(two));
  for (const nlohmann::json& rank : eight.at("ranks")) {
    CHECK(rank.at("planned").at("message_bytes") > 0);
    CHECK(rank.at("planned").at("seconds") > 0);
    CHECK_FALSE(rank.contains("measured"));
  }
  CHECK(eight.at("planned").at("seconds") < two.at("planned").at("seconds"));

  CHECK(plan_with(stated_options(eight, "weights")) == eight);  // the clip has its weights

  const nlohmann::json heads = plan_with({"--ranks", "8", "--parallel", "tensor"});
  CHECK(heads.at("settings").at("parallel") == "tensor");
  CHECK(plan_with(stated_options(heads, "weights")) == heads);
  CHECK(heads.at("planned").at("seconds") < two.at("planned").at("seconds"));
  const nlohmann::json grid = plan_with({"--ranks", "8", "--parallel", "both"});
  CHECK(grid.at("grid") == nlohmann::json{{"sharing_tokens", 4}, {"sharing_heads", 2}});

  const Ended table = run_ltx2(clip + Words{"--ranks", "8"});
  CHECK(table.code == 0);
  for (const char* text : {"rank 0", " like 1", "waiting for messages", "tokens shared by 8"})
    CHECK_THAT(table.output, Contains(text));
}

TEST_CASE("Ranks that cannot be are refused before any work", "[cli][ranks]") {
  const ScratchFolder folder;
  const std::set<std::string> before = listing(folder.path());
  struct Refusal {
    Words options;
    std::string text;
  };
  for (const Refusal& refusal :
       {Refusal{{"--ranks", "0"}, "--ranks"}, Refusal{{"--ranks", "1025"}, "--ranks"},
        Refusal{{"--ranks", "65"}, "--ranks 65: ranks are threads of this process, expected at most 64"},
        Refusal{{"--ranks", "2", "--parallel", "none"}, "--ranks 2 with --parallel none, expected 1"},
        Refusal{{"--ranks", "2", "--parallel", "heads"}, "--parallel"},
        Refusal{{"--ranks", "4", "--parallel", "both", "--rank-weights", "2,1,1,1"},
                "weights with layout both, expected sequence or tensor"},
        Refusal{{"--ranks", "4", "--ulysses-degree", "3"}, "a Ulysses degree of 3 among 4 ranks"},
        Refusal{{"--ulysses-degree", "many"}, "'many', expected auto or a number of ranks"},
        Refusal{{"--primary", "idle"}, "1 with an idle primary, expected at least 2"},
        Refusal{{"--ranks", "3", "--rank-weights", "2,1"}, "2 weights for 3 working ranks"},
        Refusal{{"--ranks", "2", "--rank-weights", "1,-1"}, "weight -1"},
        Refusal{{"--ranks", "2", "--deadline", "0"}, "--deadline"}}) {
    const Ended ended = run_ltx2(TinyModels::get().generate(folder / "out.y4m", refusal.options));
    INFO(refusal.text);
    CHECK(ended.code == 2);
    CHECK_THAT(ended.messages, Contains(refusal.text));
  }
  CHECK(listing(folder.path()) == before);
}

TEST_CASE("A rank that is too slow ends the run with its name and without a file", "[cli][ranks][faults]") {
  const ScratchFolder folder;
  const std::set<std::string> before = leftovers(folder.path());
  // No rank answers within a millisecond every time.
  const Ended ended =
      run_ltx2(TinyModels::get().generate(folder / "out.y4m", {"--ranks", "7", "--deadline", "0.001"}, "", "256"));
  CHECK(ended.code == 4);
  CHECK_THAT(ended.messages, Contains("ltx2: error: ") && Contains("did not come within 1 ms") && Contains(", in "));
  CHECK(leftovers(folder.path()) == before);
}
