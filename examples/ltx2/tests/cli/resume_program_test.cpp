// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <string>

#include "support/catch.hpp"
#include "tests/support/program.hpp"

/// `ltx2 generate --resume`: nothing that was computed is computed again.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

}  // namespace

TEST_CASE("A run that was killed is resumed to the same clip, whatever its memory scheme", "[cli][resume]") {
  const ScratchFolder folder;
  const TinyModels& models = TinyModels::get();
  REQUIRE(run_ltx2(models.generate(folder / "whole.y4m")).code == 0);
  CHECK(listing(folder.path()).size() == 2);  // pictures and sound
  for (const std::string stage : {"stage 2", "audio decode"}) {
    CAPTURE(stage);
    const Ended killed = run_ltx2(models.generate(folder / "clip.y4m", {"--progress", "json"}),
                                  {.signal = SIGKILL, .after = "{\"event\":\"begin\",\"stage\":\"" + stage + "\""});
    if (killed.code == 0) continue;  // too late
    CHECK(killed.code == -SIGKILL);
    CHECK(listing(folder.path()).contains(folder / "clip.y4m.state"));
    const Ended resumed = run_ltx2(models.generate(
        folder / "clip.y4m", {"--resume", "--scheme", "E4", "--weights", "stream", "--progress", "json"}));
    CAPTURE(resumed.messages);
    CHECK(resumed.code == 0);
    CHECK((file_text(folder / "clip.y4m") == file_text(folder / "whole.y4m")));  // without printing them
    CHECK((file_text(folder / "clip.wav") == file_text(folder / "whole.wav")));
    CHECK(!listing(folder.path()).contains(folder / "clip.y4m.state"));
    // Killed at the end of sampling, nothing of stage 1 is left to do.
    if (stage == "audio decode") CHECK_THAT(resumed.messages, !Contains("\"stage\":\"stage 1\""));
  }
}

TEST_CASE("A run that is interrupted says that its steps are kept", "[cli][resume]") {
  const ScratchFolder folder;
  const Ended ended = run_ltx2(TinyModels::get().generate(folder / "clip.y4m", {"--progress", "json"}, "", "256"),
                               {.signal = SIGTERM, .after = "{\"event\":\"begin\",\"stage\":\"stage 2\""});
  REQUIRE(ended.code == 130);
  CHECK_THAT(ended.messages, Contains("clip.y4m.state keeps the finished steps: --resume goes on from them"));
  const Ended again = run_ltx2(TinyModels::get().generate(folder / "clip.y4m", {}, "", "256"));
  CHECK(again.code == 0);
  CHECK_THAT(again.messages, Contains("clip.y4m.state: finished steps of an earlier run"));
}

TEST_CASE("There is nothing to resume without steps, or with those of another clip", "[cli][resume]") {
  const ScratchFolder folder;
  const Ended none = run_ltx2(TinyModels::get().generate(folder / "clip.y4m", {"--resume"}));
  CHECK(none.code == 2);
  CHECK_THAT(none.messages, Contains("ltx2: error: ") && Contains("clip.y4m.state: no finished steps"));
  const Ended killed = run_ltx2(TinyModels::get().generate(folder / "clip.y4m", {"--progress", "json"}, "", "256"),
                                {.signal = SIGKILL, .after = "{\"event\":\"begin\",\"stage\":\"stage 2\""});
  REQUIRE(killed.code == -SIGKILL);
  const Ended other = run_ltx2(TinyModels::get().generate(folder / "clip.y4m", {"--resume", "--seed", "3"}, "", "256"));
  CHECK(other.code == 2);
  CHECK_THAT(other.messages, Contains("steps of another clip: --seed '10', expected '3'"));
  CHECK(listing(folder.path()).contains(folder / "clip.y4m.state"));
}

TEST_CASE("Finished steps that cannot be written end no run", "[cli][resume]") {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "clip.y4m.state");  // no file takes its place
  const Ended ended = run_ltx2(TinyModels::get().generate(folder / "clip.y4m"));
  CHECK(ended.code == 0);
  CHECK_THAT(ended.messages, Contains("ltx2: warning: ") && Contains("finished steps are not kept any more"));
}
