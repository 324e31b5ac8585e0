// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "tests/support/program.hpp"

/// A disk that fills while the program writes: exit code 4, a message naming the file, nothing left behind.

namespace {

using Catch::Matchers::Contains;
using namespace ltx2::test;

/// Files may grow to so many bytes only; the program sees EFBIG where a full disk gives ENOSPC, on the same paths.
void runs_full(rlim_t bytes, const std::vector<std::string>& words, const std::string& named, const std::string& folder,
               const std::set<std::string>& finished = {}) {
  CAPTURE(bytes, words);
  auto expected = leftovers(folder);
  expected.insert(finished.begin(), finished.end());
  Ended ended;
  {
    const ScopedFileSizeLimit limit(bytes);
    ended = run_ltx2(words);
  }
  CHECK(ended.code == 4);
  CHECK_THAT(ended.messages, Contains("ltx2: error: ") && Contains(named));
  CHECK(leftovers(folder) == expected);
}

}  // namespace

TEST_CASE("A disk that is full when the video is written leaves nothing of it", "[cli][full]") {
  const TinyModels& models = TinyModels::get();
  for (const char* name : {"clip.mp4", "clip.y4m", "clip/"}) {
    for (const rlim_t bytes : {rlim_t{0}, rlim_t{1000}}) {
      const ScratchFolder folder;
      runs_full(bytes, models.generate(folder / name), std::string(name).substr(0, 4), folder.path());
    }
  }
}

TEST_CASE("A disk that is full when the sound is written leaves no video either", "[cli][full]") {
  const ScratchFolder folder;
  // Nine frames of 64 x 64 take 111 KB as Y4M; their sound at 48 kHz is smaller, so the pictures run full first.
  runs_full(100'000, TinyModels::get().generate(folder / "clip.y4m"), "clip.y4m", folder.path());
}

TEST_CASE("A disk that is full when check writes leaves nothing", "[cli][full]") {
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{500}, rlim_t{4000}}) {
    const ScratchFolder folder;
    std::filesystem::create_directories(folder / "out/vocode");
    runs_full(bytes,
              {"check", golden_path("cases/vocode/v23_9.safetensors"), "--models", TinyModels::get().folder(),
               "--output", folder / "out"},
              "v23_9.safetensors", folder.path());
  }
}

TEST_CASE("A disk that is full when synth writes leaves nothing", "[cli][full]") {
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{4}, rlim_t{5000}, rlim_t{200'000}}) {
    const ScratchFolder folder;
    runs_full(bytes, {"synth", golden_path("configs/gemma_tiny.json"), folder / "model.safetensors"},
              "model.safetensors", folder.path());
  }
}

TEST_CASE("A disk that is full when the report is written leaves none", "[cli][full]") {
  const ScratchFolder folder;
  runs_full(100,
            {"check", golden_path("cases/vocode/v23_9.safetensors"), "--models", TinyModels::get().folder(), "--report",
             folder / "report.json"},
            "report.json", folder.path());
}

TEST_CASE("A small disk that really runs full leaves nothing and says so", "[cli][full]") {
  const TinyModels& models = TinyModels::get();
  for (const std::size_t pages : {std::size_t{1}, std::size_t{8}}) {
    const ScratchDisk disk(pages * 4096);
    if (!disk.mounted()) {
      WARN("not tried: mounting a small disk needs root");
      return;
    }
    const auto runs_out_of_space = [&](const std::vector<std::string>& words) {
      CAPTURE(pages, words);
      const Ended ended = run_ltx2(words);
      CHECK(ended.code == 4);
      CHECK_THAT(ended.messages, Contains("ltx2: error: ") && Contains(disk.path()));
      CHECK(leftovers(disk.path()).empty());
    };
    for (const char* name : {"clip.mp4", "clip.y4m", "clip/"}) runs_out_of_space(models.generate(disk / name));
    runs_out_of_space({"synth", golden_path("configs/gemma_tiny.json"), disk / "model.safetensors"});
  }
}
