// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "tests/support/program.hpp"

/// Ctrl-C and its like during every stage of the program.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

/// Promised is a second. It is measured in the program's own processor time, so that a busy machine fails no test; the
/// wall clock only finds a program that waits instead of ending.
#ifdef LTXMEM_SANITIZED
constexpr double promised_s = 10;
#else
constexpr double promised_s = 1;
#endif
constexpr double patience_s = 30;

/// The program must end with 130 when the signal comes in this stage, and leave the folder as it was. A stage of the
/// tiny models lasts milliseconds, so a signal may come too late: then it is tried again.
void interrupted_in(const std::string& stage, const std::vector<std::string>& words, int signal,
                    const std::string& folder) {
  CAPTURE(stage, signal);
  const auto before = leftovers(folder);
  const std::string begin = "{\"event\":\"begin\",\"stage\":\"" + stage + "\"";
  const std::string abandoned = "{\"event\":\"abandoned\",\"stage\":\"" + stage + "\"";
  const std::string ended_by_itself = "{\"event\":\"end\",\"stage\":\"" + stage + "\"";
  for (int attempt = 0; attempt < 20; ++attempt) {
    const Ended ended = run_ltx2(words, {.signal = signal, .after = begin, .standard_output = ""});
    if (ended.code == 0) {  // too late for any stage
      for (const std::string& name : listing(folder)) {
        if (!before.contains(name)) std::filesystem::remove_all(name);
      }
      continue;
    }
    CHECK(ended.code == 130);
    CHECK_THAT(ended.messages, Contains("ltx2: error: interrupted"));
    CHECK(ended.work_after_signal_s < promised_s);
    CHECK(ended.seconds_after_signal < patience_s);
    CHECK(leftovers(folder) == before);
    // A stage whose last operation was running ends as abandoned or, a moment later, by the next one's refusal.
    if (ended.messages.find(abandoned) != std::string::npos ||
        ended.messages.find(ended_by_itself) == std::string::npos) {
      return;
    }
    const std::size_t at = ended.messages.find(ended_by_itself);
    if (ended.messages.find("\"event\":\"begin\"", at) == std::string::npos) return;
  }
  FAIL("the signal never came in time");
}

}  // namespace

TEST_CASE("A signal in any stage of generate ends it with 130 and without a partial file", "[cli][interrupt]") {
  for (const char* stage : {"text", "stage 1", "upsample", "stage 2", "audio decode", "video decode"}) {
    for (const int signal : {SIGINT, SIGTERM}) {
      const ScratchFolder folder;
      interrupted_in(stage,
                     TinyModels::get().generate(folder / "clip.mp4",
                                                {"--progress", "json", "--report", folder / "report"}, "", "256"),
                     signal, folder.path());
    }
  }
}

TEST_CASE("A signal during check ends it with 130 and without a partial file", "[cli][interrupt]") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const ScratchFolder folder;
    std::filesystem::create_directories(folder / "out/denoise");
    interrupted_in("denoise",
                   {"check", golden_path("cases/denoise/v23_guided.safetensors"), "--models",
                    TinyModels::get().folder(), "--threads", "1", "--progress", "json", "--output", folder / "out"},
                   signal, folder.path());
  }
}

TEST_CASE("A signal during synth ends it with 130 and without a partial file", "[cli][interrupt]") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const ScratchFolder folder;
    ltx2::Json json = ltx2::read_json_file(golden_path("configs/ltx23_tiny.json"));
    json["config"]["transformer"]["num_layers"] = 60;
    write_text(folder / "description.json", json.dump());
    interrupted_in("synth", {"synth", folder / "description.json", folder / "model.safetensors", "--progress", "json"},
                   signal, folder.path());
  }
}

TEST_CASE("A signal while a plan is made ends plan and generate with 130 and without a file", "[cli][interrupt]") {
  // Many tokens, and tiles of which none fits: seconds of planning.
  const ScratchFolder folder;
  std::vector<std::string> generate = TinyModels::get().generate(
      folder / "clip.mp4", {"--scheme", "auto", "--decode-tile", "auto", "--memory-budget", "1MiB"}, "", "8192");
  *(std::find(generate.begin(), generate.end(), "--num-frames") + 1) = "257";
  std::vector<std::string> plan = generate;
  plan[0] = "plan";
  for (const std::vector<std::string>& words : {plan, generate}) {
    for (const int signal : {SIGINT, SIGTERM}) {
      CAPTURE(words.front(), signal);
      const Ended ended = run_ltx2(words, {.signal = signal, .after_work_s = 0.3});
      CHECK(ended.code == 130);
      CHECK(ended.output.empty());
      CHECK_THAT(ended.messages, Contains("ltx2: error: interrupted"));
      CHECK(ended.work_after_signal_s < promised_s);
      CHECK(listing(folder.path()).empty());
    }
  }
}
