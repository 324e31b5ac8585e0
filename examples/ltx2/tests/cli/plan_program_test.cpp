// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// `ltx2 plan`, and budgets of every subcommand that runs, as users see them.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

std::size_t peak(const nlohmann::json& stage, const char* kind, const char* space) {
  return stage.at(kind).at("peak_bytes").at(space).get<std::size_t>();
}

/// Device bytes, and those of pinned and host memory together, that the planned stages of a report need at most.
std::pair<std::size_t, std::size_t> needs(const nlohmann::json& report) {
  std::pair<std::size_t, std::size_t> most{0, 0};
  for (const nlohmann::json& stage : report.at("stages")) {
    most.first = std::max(most.first, peak(stage, "planned", "device"));
    most.second = std::max(most.second, peak(stage, "planned", "pinned") + peak(stage, "planned", "host"));
  }
  return most;
}

const Words full_clip{"plan", "--width", "1920", "--height", "1088", "--num-frames", "897"};

}  // namespace

TEST_CASE("The full model is planned in little time and memory", "[cli][plan]") {
  const Ended ended = run_ltx2(full_clip + Words{"--model", "2.3", "--device-profile", "rtx4090", "--json"});
  CHECK(ended.code == 0);
  CHECK(ended.most_resident_bytes < std::size_t{200} << 20);
  const nlohmann::json plan = nlohmann::json::parse(ended.output);
  CHECK(plan.at("fits") == true);
  CHECK(plan.at("settings").at("device") == "cuda");
  CHECK(plan.at("planned").at("seconds").get<double>() > 0);
  CHECK(plan.at("planned").at("at_peak").at("device").at("buffers").size() > 2);
  CHECK_THAT(ended.messages, Contains("37.4 s of video"));
}

TEST_CASE("A plan for people names stages and the buffers at the peak", "[cli][plan]") {
  const Ended ended = run_ltx2(full_clip + Words{"--model", "2.0", "--device-profile", "h100"});
  CHECK(ended.code == 0);
  for (const char* text : {"stage 2", "video decode", "whole job", "device memory", "%"}) {
    CHECK_THAT(ended.output, Contains(text));
  }
}

TEST_CASE("A plan warns of a clip longer than those trained on and of a run that takes days", "[cli][plan]") {
  const Ended days = run_ltx2({"plan", "--width", "3840", "--height", "2176", "--num-frames", "489"});
  CHECK_THAT(days.messages, Contains("20.4 s of video") && Contains("the run takes ") && Contains(" days on cpu"));
  const Ended minutes = run_ltx2({"plan", "--num-frames", "121", "--device-profile", "h100"});
  CHECK(minutes.messages.empty());
}

TEST_CASE("A plan that does not fit is printed and refused", "[cli][plan]") {
  const Ended ended = run_ltx2({"plan", "--num-frames", "121", "--memory-budget", "1MiB", "--json"});
  CHECK(ended.code == 3);
  CHECK(nlohmann::json::parse(ended.output).at("fits") == false);
  CHECK(nlohmann::json::parse(ended.output).at("settings").at("device") == "cpu");
  CHECK_THAT(ended.messages, Contains("does not fit the device budget") && Contains("1048576"));
}

TEST_CASE("Plans and runs refuse budgets that are none", "[cli][plan]") {
  for (const char* size : {"0", "12QB", "x", "-900000GiB", "0%", "101%"}) {
    const Ended ended = run_ltx2({"plan", std::string("--memory-budget=") + size});
    CAPTURE(size);
    CHECK(ended.code == 2);
    CHECK_THAT(ended.messages, Contains("--memory-budget"));
  }
  CHECK(run_ltx2({"plan", "--host-budget", "-1QB"}).code == 2);
  CHECK(run_ltx2({"plan", "--memory-budget", ""}).code == 2);
  CHECK(run_ltx2({"plan", "--host-budget", ""}).code == 2);
  CHECK(run_ltx2({"plan", "--device-profile", "rtx1"}).code == 2);
  CHECK(run_ltx2({"plan", "--model", "2.7"}).code == 2);
  CHECK(run_ltx2({"plan", "--weights", "stream:0"}).code == 2);
  CHECK(run_ltx2({"plan", "--resident-blocks=-1"}).code == 2);
}

TEST_CASE("A budget of one byte is refused with what is missing; of minus one, all but a byte of what is free counts",
          "[cli][plan]") {
  const Words clip{"plan", "--num-frames", "9", "--width", "64", "--height", "64", "--device-profile", "rtx3060"};
  const Ended one = run_ltx2(clip + Words{"--memory-budget", "1"});
  CHECK(one.code == 3);
  CHECK_THAT(one.messages, Contains("bytes of 1, "));
  const Ended rest = run_ltx2(clip + Words{"--weights", "stream", "--memory-budget=-1", "--json"});
  CHECK(rest.code == 0);
  CHECK(nlohmann::json::parse(rest.output).at("budget_bytes").at("device") == (std::size_t{12} << 30) - 1);
}

TEST_CASE("Clips whose sizes overflow are refused by name before anything is planned", "[cli][plan]") {
  for (const Words& size : {Words{"--width", "9223372036854775744"}, Words{"--height", "4611686018427387904"},
                            Words{"--num-frames", "9223372036854775801"}}) {
    const Ended ended = run_ltx2(Words{"plan"} + size);
    CHECK(ended.code == 2);
    CHECK_THAT(ended.messages, Contains(size[0] + " " + size[1] + ", expected at most"));
  }
  const Ended least = run_ltx2({"plan", "--num-frames=-9223372036854775808"});
  CHECK(least.code == 2);
  CHECK_THAT(least.messages,
             Contains("--num-frames -9223372036854775808, expected one more than a multiple of 8, such as 1"));
}

TEST_CASE("A clip whose positions have no room is refused before they are computed", "[cli][plan]") {
  const Ended ended = run_ltx2({"plan", "--width", "65536", "--height", "65536", "--num-frames", "999993"});
  CHECK(ended.code == 3);
  CHECK_THAT(ended.messages,
             Contains("524288000000 video tokens and 1041659 audio tokens") && Contains("are available"));
  CHECK(ended.most_resident_bytes < std::size_t{100} << 20);
}

TEST_CASE("What a budget leaves goes to transformer blocks that stay, unless a number is stated", "[cli][plan]") {
  const Words clip{"plan",   "--num-frames",     "121",     "--width",   "1280",   "--height",        "704",
                   "--json", "--device-profile", "rtx4090", "--weights", "stream", "--memory-budget", "16GiB"};
  const nlohmann::json plan = nlohmann::json::parse(run_ltx2(clip).output);
  const nlohmann::json without = nlohmann::json::parse(run_ltx2(clip + Words{"--resident-blocks", "0"}).output);
  const auto kept = plan.at("settings").at("resident-blocks").get<std::int64_t>();
  CHECK(kept > 10);
  CHECK(without.at("settings").at("resident-blocks") == 0);
  CHECK(plan.at("planned").at("seconds") <= without.at("planned").at("seconds"));
  const auto most = std::size_t{16} << 30;
  const std::size_t used = peak(plan, "planned", "device");
  const std::size_t block = (used - peak(without, "planned", "device")) / static_cast<std::size_t>(kept);
  CHECK(used <= most);
  CHECK(used + 2 * block > most);
}

TEST_CASE("On a host smaller than the files streamed blocks are read again, as many as have no room", "[cli][plan]") {
  const Words clip{"plan", "--num-frames", "121", "--weights", "stream", "--json", "--device-profile", "rtx4090"};
  const auto planned = [&](const Words& more) {
    const Ended ended = run_ltx2(clip + more);
    REQUIRE(ended.code == 0);
    return nlohmann::json::parse(ended.output);
  };
  const auto disk_bytes = [](const nlohmann::json& plan) {
    return plan.at("stages").at(1).at("operations").at("disk_bytes").get<std::int64_t>();
  };
  const nlohmann::json roomy = planned({"--host-budget", "64GiB"});
  CHECK(disk_bytes(roomy) == 0);
  CHECK_FALSE(roomy.at("settings").contains("page-cache"));
  const nlohmann::json small = planned({"--host-budget", "32GiB"});
  const nlohmann::json none = planned({"--page-cache", "0"});
  CHECK(disk_bytes(small) > 0);
  CHECK(disk_bytes(small) < disk_bytes(none) / 2);
  CHECK(disk_bytes(none) > std::int64_t{8} * 30'000'000'000);  // eight steps that read every block
  const auto kept = small.at("settings").at("page-cache").get<std::size_t>();
  CHECK(kept + needs(small).second == std::size_t{32} << 30);
  CHECK(small.at("planned").at("seconds") > roomy.at("planned").at("seconds"));
  CHECK(small.at("planned").at("seconds") < none.at("planned").at("seconds"));
  CHECK(planned(stated_options(small, "weights") + Words{"--host-budget", "32GiB"}) == small);
}

TEST_CASE("What the page cache keeps changes no bit", "[cli][plan]") {
  const ScratchFolder folder;
  const TinyModels& models = TinyModels::get();
  const auto bytes = [&](const Words& more) {
    const std::string output = folder / "clip.y4m";
    CHECK(run_ltx2(models.generate(output, Words{"--weights", "stream", "--report", folder / "report"} + more)).code ==
          0);
    return file_text(output);
  };
  const std::string all = bytes({});
  CHECK(all.size() > 1000);
  CHECK(bytes({"--page-cache", "0"}) == all);
  CHECK(read_json(folder / "report").at("settings").at("page-cache") == 0);
}

TEST_CASE("An automatic plan decodes in tiles where the decoder is the peak", "[cli][plan]") {
  const Words clip{"plan",   "--num-frames", "121",  "--width",          "3840",    "--height",        "2176",
                   "--json", "--scheme",     "auto", "--device-profile", "rtx3060", "--memory-budget", "7.5GiB"};
  const Ended ended = run_ltx2(clip);
  CHECK(ended.code == 0);
  const nlohmann::json plan = nlohmann::json::parse(ended.output);
  CHECK(plan.at("settings").at("decode-tile") != 0);
  CHECK(plan.at("settings").at("weights") == "stream:2");
  const Ended refused = run_ltx2(clip + Words{"--decode-tile", "0"});
  CHECK(refused.code == 3);
  CHECK_THAT(refused.messages, Contains("would fit: ") && Contains("--decode-tile"));
}

TEST_CASE("An automatic plan that lacks one byte is another one", "[cli][plan]") {
  const Words clip{"plan", "--width",      "3840", "--height",   "2176", "--num-frames", "481", "--json", "--scheme",
                   "auto", "--query-tile", "auto", "--key-tile", "auto", "--ffn-chunk",  "auto"};
  const nlohmann::json roomy = nlohmann::json::parse(run_ltx2(clip).output);
  const auto device = peak(roomy, "planned", "device");
  CHECK(
      nlohmann::json::parse(run_ltx2(clip + Words{"--memory-budget", std::to_string(device)}).output).at("settings") ==
      roomy.at("settings"));
  const Ended tight = run_ltx2(clip + Words{"--memory-budget", std::to_string(device - 1)});
  CHECK(tight.code == 0);
  const nlohmann::json other = nlohmann::json::parse(tight.output);
  CHECK(other.at("settings") != roomy.at("settings"));
  CHECK(peak(other, "planned", "device") < device);
}

TEST_CASE("Settings of a report given back as options give the same plan", "[cli][plan]") {
  const Words clip{"plan", "--num-frames", "121", "--json"};
  const nlohmann::json first = nlohmann::json::parse(
      run_ltx2(clip + Words{"--scheme", "auto", "--query-tile", "auto", "--weights", "stream:3"}).output);
  CHECK(nlohmann::json::parse(run_ltx2(clip + stated_options(first)).output) == first);
}

TEST_CASE("With a profile of the machine generate's report has predicted beside measured seconds", "[cli][plan]") {
  const ScratchFolder folder;
  const TinyModels& models = TinyModels::get();
  const Words report{"--report", folder / "report.json", "--verbose", "2"};
  const Ended without = run_ltx2(models.generate(folder / "clip.y4m", report));
  CHECK(without.code == 0);
  CHECK_THAT(without.messages, Contains("no seconds predicted"));
  CHECK_FALSE(read_json(folder / "report.json").contains("device_profile"));
  CHECK_FALSE(read_json(folder / "report.json").at("planned").contains("seconds"));

  const Ended with = run_ltx2(models.generate(folder / "clip.y4m", report + Words{"--device-profile", "cpu"}));
  CHECK(with.code == 0);
  const nlohmann::json stated = read_json(folder / "report.json");
  CHECK(stated.at("device_profile") == "cpu");
  for (const nlohmann::json& stage : stated.at("stages")) {
    CHECK(stage.at("planned").at("seconds").get<double>() > 0);
    CHECK(stage.at("measured").at("seconds").get<double>() > 0);
  }

  const Ended other = run_ltx2(models.generate(folder / "clip.y4m", {"--device-profile", "rtx4090"}));
  CHECK(other.code == 2);
  CHECK_THAT(other.messages, Contains("--device-profile rtx4090") && Contains("ltx2 calibrate"));
}

#ifndef LTXMEM_SANITIZED  // sanitizers need address space of their own
namespace {

/// The program in a process whose address space is limited.
Ended run_limited(std::size_t kibibytes, const Words& words) {
  Words all{"/bin/sh", "-c", "ulimit -v " + std::to_string(kibibytes) + "; exec '" LTX2_PROGRAM "' \"$@\"", "ltx2"};
  return run_program(all + words);
}

}  // namespace

TEST_CASE("A process whose address space is limited refuses what does not fit, and leaves nothing", "[cli][plan]") {
  const ScratchFolder folder;
  const TinyModels& models = TinyModels::get();
  const Words generate = models.generate(folder / "clip.y4m");
  Words plan = generate;
  plan[0] = "plan";
  const Words check{
      "check", golden_path("cases/transformer/v23_t2v.safetensors"), "--models", models.folder(), "--threads", "1"};
  for (const Words& words : {generate, plan, check}) {
    CAPTURE(words.front());
    for (const std::size_t mebibytes : {100UL, 200UL, 400UL}) {
      CAPTURE(mebibytes);
      const Ended ended = run_limited(mebibytes * 1024, words);
      CHECK(ended.code == 3);
      CHECK_THAT(ended.messages, Contains("does not fit the address space budget"));
      CHECK(listing(folder.path()).empty());
    }
  }
  CHECK(run_limited(400 * 1024, plan + Words{"--device-profile", "rtx4090"}).code == 0);  // of another machine
}

TEST_CASE("The least address space that is not refused is enough, with any number of threads", "[cli][plan]") {
  for (const char* threads : {"1", "16"}) {
    CAPTURE(threads);
    const ScratchFolder folder;
    Words words = TinyModels::get().generate(folder / "clip.y4m", {}, {}, "128");
    *(std::find(words.begin(), words.end(), "--threads") + 1) = threads;
    constexpr std::size_t little_kib = 300 * 1024;
    const std::string refusal = run_limited(little_kib, words).messages;
    const std::size_t end = refusal.find(" too many");
    REQUIRE(end != std::string::npos);
    const std::size_t missing = std::stoull(refusal.substr(refusal.rfind(' ', end - 1)));
    const std::size_t enough_kib = little_kib + missing / 1024 + 1024;
    CHECK(run_limited(enough_kib, words).code == 0);
    CHECK(listing(folder.path()).size() == 2);
    CHECK(run_limited(enough_kib - 2048, words).code == 3);
  }
}
#endif

TEST_CASE("The whole pipeline runs in exactly its planned peak and is refused one byte less", "[cli][plan]") {
  const ScratchFolder folder;
  const TinyModels& models = TinyModels::get();
  const Words settings{"--scheme",    "E3",  "--query-tile", "256",    "--key-tile", "256",
                       "--ffn-chunk", "256", "--weights",    "stream", "--report",   folder / "report.json"};
  const std::string output = folder / "clip.y4m";
  Words plan_words = models.generate(output, settings);
  plan_words[0] = "plan";
  const Ended planned = run_ltx2(plan_words + Words{"--json"});
  REQUIRE(planned.code == 0);
  const auto [device, host] = needs(nlohmann::json::parse(planned.output));
  REQUIRE(device > 0);
  const auto run = [&](std::size_t device_bytes, std::size_t host_bytes) {
    return run_ltx2(models.generate(output, settings + Words{"--memory-budget", std::to_string(device_bytes),
                                                             "--host-budget", std::to_string(host_bytes)}));
  };

  const Ended fits = run(device, host);
  CHECK(fits.code == 0);
  const nlohmann::json report = read_json(folder / "report.json");
  CHECK(needs(report) == std::pair(device, host));
  for (const nlohmann::json& stage : report.at("stages")) {
    for (const char* space : {"device", "pinned", "host"}) {
      CHECK(peak(stage, "planned", space) == peak(stage, "measured", space));
    }
  }
  CHECK(report.at("budget_bytes").at("device") == device);

  std::filesystem::remove(output);
  const Ended device_short = run(device - 1, host);
  CHECK(device_short.code == 3);
  CHECK_THAT(device_short.messages, Contains("does not fit the device budget") && Contains("1 too many"));
  CHECK_FALSE(std::filesystem::exists(output));
  const Ended host_short = run(device, host - 1);
  CHECK(host_short.code == 3);
  CHECK_THAT(host_short.messages, Contains("does not fit the host budget"));
  CHECK_FALSE(std::filesystem::exists(output));
}
