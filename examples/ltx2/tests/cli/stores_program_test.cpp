// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <string>

#include "support/catch.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// `--store`, as users see it.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

const Words clip{"plan", "--model",   "2.3",    "--width",          "1920",   "--height", "1088", "--num-frames",
                 "481",  "--weights", "stream", "--device-profile", "rtx4090"};

nlohmann::json plan_with(const Words& options) {
  const Ended ended = run_ltx2(clip + Words{"--json"} + options);
  CAPTURE(ended.messages);
  REQUIRE(ended.code == 0);
  return nlohmann::json::parse(ended.output);
}

std::size_t stored(const nlohmann::json& report, std::size_t store, const char* kind = "planned") {
  return report.at("stores").at(store).at(kind).at("peak_bytes").get<std::size_t>();
}

}  // namespace

TEST_CASE("A clip made with idle ranks for memory is the same, and takes what was planned", "[cli][stores]") {
  const ScratchFolder folder;
  const auto generate = [&](const std::string& name, const Words& options) {
    const Ended ended = run_ltx2(TinyModels::get().generate(
        folder / (name + ".y4m"),
        Words{"--scheme", "E4", "--weights", "stream", "--report", folder / (name + ".json")} + options));
    CAPTURE(ended.messages);
    REQUIRE(ended.code == 0);
    CHECK_THAT(ended.messages, !Contains("holds nothing"));
    return file_text(folder / (name + ".y4m"));
  };
  const std::string expected = generate("host", {});
  CHECK(generate("stores", {"--ranks", "3", "--store", "rank:1=32MiB,2=16MiB"}) == expected);
  const nlohmann::json report = read_json(folder / "stores.json");
  CHECK(report.at("settings").at("store") == "rank:1=33554432,2=16777216");
  CHECK(report.at("settings").at("stored-blocks") > 0);
  REQUIRE(report.at("stores").size() == 2);
  REQUIRE(report.at("ranks").size() == 3);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(stored(report, i) > 0);
    CHECK(stored(report, i) == stored(report, i, "measured"));
    CHECK(report.at("ranks").at(i + 1).at("measured").at("peak_bytes") == stored(report, i));
    CHECK(report.at("stores").at(i).at("store") == "rank " + std::to_string(i + 1));
  }
  CHECK(stored(report, 0) > stored(report, 1));
}

TEST_CASE("A reference case is checked with two of four ranks for memory", "[cli][stores]") {
  const ScratchFolder folder;
  const Ended ended = run_ltx2({"check", golden_path("cases/denoise/v23_guided.safetensors"), "--models",
                                TinyModels::get().folder(), "--scheme", "E3", "--weights", "stream", "--ranks", "4",
                                "--store", "rank:2,3", "--report", folder / "report.json"});
  CAPTURE(ended.messages, ended.output);
  CHECK(ended.code == 0);
  const nlohmann::json report = read_json(folder / "report.json");
  CHECK(report.at("settings").at("store") == "rank:2,3");
  CHECK(report.at("settings").at("stored-blocks") > 0);
  CHECK(stored(report, 0) > 0);
  CHECK(stored(report, 1) == stored(report, 1, "measured"));
  CHECK_FALSE(report.at("stores").at(0).contains("free_bytes"));
}

TEST_CASE("A plan spreads rows over cards and fills what they have left with blocks", "[cli][plan][stores]") {
  const nlohmann::json host = plan_with({"--scheme", "E4"});
  const nlohmann::json plan = plan_with({"--scheme", "E4", "--store", "cuda:1=4GiB,2=2GiB"});
  const std::size_t block = std::size_t{720} << 20;  // more than one takes
  const std::size_t most = std::size_t{4} << 30;
  CHECK(stored(plan, 0) <= most);
  CHECK(stored(plan, 0) + block > most);
  CHECK(stored(plan, 1) <= most / 2);
  CHECK(static_cast<double>(stored(plan, 1)) == Approx(static_cast<double>(stored(plan, 0)) / 2).epsilon(1e-4));
  CHECK(plan.at("settings").at("stored-blocks") > 0);
  CHECK(plan.at("settings").at("stored-blocks") < 48);
  CHECK(plan.at("stores").at(1).at("free_bytes") == most / 2);
  CHECK(plan.at("stores").at(1).at("store") == "cuda:2");
  const auto pinned = [](const nlohmann::json& report) {
    return report.at("planned").at("peak_bytes").at("pinned").get<std::size_t>();
  };
  CHECK(pinned(plan) < pinned(host));
  CHECK(plan.at("planned").at("peak_bytes").at("device") == host.at("planned").at("peak_bytes").at("device"));
  CHECK(plan_with(stated_options(plan, "weights")) == plan);

  const nlohmann::json whole = plan_with({"--scheme", "E4", "--store", "cuda:1,2"});
  CHECK(whole.at("settings").at("store") == "cuda:1=25769803776,2=25769803776");
  const nlohmann::json ranks = plan_with({"--scheme", "E4", "--store", "rank:1,2", "--ranks", "3"});
  CHECK(stored(ranks, 0) == stored(whole, 0));
  CHECK(ranks.at("ranks").size() == 3);
  CHECK(ranks.at("planned").at("seconds") > whole.at("planned").at("seconds"));  // the profile's network is slow

  const Ended table = run_ltx2(clip + Words{"--scheme", "E4", "--store", "cuda:1,2"});
  CHECK(table.code == 0);
  for (const char* text : {"stores", "cuda:1", "cuda:2", "of the streamed blocks "})
    CHECK_THAT(table.output, Contains(text));
}

TEST_CASE("A scheme is found that fits the stores", "[cli][plan][stores]") {
  const Words tight{"plan",
                    "--num-frames",
                    "897",
                    "--width",
                    "1920",
                    "--height",
                    "1088",
                    "--weights",
                    "stream",
                    "--device-profile",
                    "rtx4090",
                    "--scheme",
                    "auto",
                    "--json",
                    "--memory-budget",
                    "6GiB",
                    "--decode-tile",
                    "0",
                    "--query-tile",
                    "4096",
                    "--key-tile",
                    "8192",
                    "--ffn-chunk",
                    "4096",
                    "--saved-prefix",
                    "none",
                    "--resident-blocks",
                    "0"};
  const Ended large = run_ltx2(tight + Words{"--store", "cuda:1=64GiB"});
  CHECK(large.code == 0);
  const nlohmann::json plan = nlohmann::json::parse(large.output);
  CHECK(plan.at("settings").at("scheme") == "E3");
  CHECK(plan.at("settings").at("stored-blocks") == 48);
}

TEST_CASE("What does not fit the stores is refused with the store, what it needs and what it has", "[cli][stores]") {
  const Ended plan = run_ltx2(clip + Words{"--scheme", "E4", "--store", "cuda:1=1GiB,2=100MiB"});
  CHECK(plan.code == 3);
  CHECK_THAT(plan.messages, Contains("does not fit the store cuda:1 budget: needs ") &&
                                Contains(" bytes of 1073741824, ") && Contains("tokens ") && Contains("would fit: "));
  const ScratchFolder folder;
  const Ended run = run_ltx2(
      TinyModels::get().generate(folder / "out.y4m", {"--scheme", "E4", "--ranks", "2", "--store", "rank:1=1000"}));
  CHECK(run.code == 3);
  CHECK_THAT(run.messages, Contains("does not fit the store rank 1 budget: needs ") && Contains(" bytes of 1000, "));
  CHECK(listing(folder.path()).empty());
}

TEST_CASE("Stores for which nothing leaves the device are warned of", "[cli][stores]") {
  const Ended ended =
      run_ltx2({"plan", "--num-frames", "9", "--width", "64", "--height", "64", "--ranks", "2", "--store", "rank:1"});
  CHECK(ended.code == 0);
  CHECK_THAT(ended.messages,
             Contains("nothing leaves the device in scheme E1 with weights resident: --store rank:1 holds nothing"));
}

TEST_CASE("Stores that cannot be are refused before any work", "[cli][stores]") {
  const auto refused = [](const Words& options, const std::string& why) {
    const ScratchFolder folder;
    const Ended ended = run_ltx2(TinyModels::get().generate(folder / "out.y4m", options));
    CAPTURE(ended.messages);
    CHECK(ended.code == 2);
    CHECK_THAT(ended.messages, Contains(why));
    CHECK(listing(folder.path()).empty());
  };
  for (const char* text : {"disk", "rank", "rank:", "rank:1,", "rank:x", "cuda:-1", "rank:1=", "rank:1=4QB"}) {
    refused({"--ranks", "2", "--store", text}, "--store");
  }
  refused({"--ranks", "2", "--store", "rank:1,1"}, "rank 1 is named twice");
  refused({"--ranks", "2", "--store", "rank:2"}, "there is no rank 2 of 2 ranks");
  refused({"--store", "rank:1"}, "there is no rank 1 of 1 ranks");
  refused({"--ranks", "2", "--store", "rank:0"}, "rank 0 does what ranks do not share");
  refused({"--ranks", "3", "--store", "rank:1"}, "rank 1 of 3 ranks, expected the last 1, from rank 2 on");
  refused({"--ranks", "3", "--store", "rank:1,2", "--primary", "idle"},
          "3 with an idle primary, of which 2 are stores, expected at least 4");
  refused({"--ranks", "3", "--store", "rank:2", "--rank-weights", "1,1,1"}, "3 weights for 2 working ranks");
  refused({"--ranks", "2", "--store", "rank:1=0"}, "rank 1 has 0 bytes free");
  refused({"--store", "cuda:1"}, "cuda:1 with --device cpu, expected a card that computes");
  refused({"--stored-blocks", "3"}, "--stored-blocks 3 without --store");
  refused({"--stored-blocks", "x"}, "--stored-blocks");
  const Ended card = run_ltx2(clip + Words{"--store", "cuda:0"});
  CHECK(card.code == 2);
  CHECK_THAT(card.messages, Contains("cuda:0: the card that computes"));
  const Ended ranks = run_ltx2(clip + Words{"--store", "cuda:1", "--ranks", "2"});
  CHECK(ranks.code == 2);
  CHECK_THAT(ranks.messages, Contains("cuda:1 with 2 ranks, expected 1"));
}
