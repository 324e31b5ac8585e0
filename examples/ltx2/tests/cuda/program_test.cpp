// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "media/image.hpp"
#include "media/wav.hpp"
#include "tests/cuda/card.hpp"
#include "tests/support/mpirun.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// The program on a CUDA device, here a test double: the very files that a device would run, which find the doubles
/// where they look for CUDA's libraries.

namespace {

using namespace ltx2::test;

/// The program on a machine of doubles.
Words on_double(const Words& arguments, const Words& machine, const std::string& program = LTX2_PROGRAM) {
  return Words{"/usr/bin/env", "LD_LIBRARY_PATH=" LTX2_DOUBLES, "LD_PRELOAD=" LTX2_DOUBLE_KERNELS} + machine +
         Words{program} + arguments;
}

Ended run_on_double(const Words& arguments, const Words& machine = {}, const Surroundings& surroundings = {}) {
  return run_program(on_double(arguments, machine), surroundings);
}

Words check_words(const Words& more) {
  return Words{"check", golden_path("cases/transformer/v23_t2v.safetensors"), "--models", golden_models().string()} +
         more;
}

/// One sentence, no work, and the exit code of a device that fails.
void check_refused(const Ended& ended, const std::string& why) {
  CAPTURE(ended.messages);
  CHECK(ended.code == 4);
  CHECK(ended.output.empty());
  CHECK(ended.messages.find(why) != std::string::npos);
  CHECK(ended.messages.find('\n') == ended.messages.size() - 1);
}

/// What a run that checks the case reports; it is to end well.
nlohmann::json report_of(const std::function<Ended(const Words& arguments)>& run, const Words& more) {
  const ScratchFolder folder;
  const Ended ended = run(check_words(more + Words{"--report", folder / "report.json"}));
  CAPTURE(ended.messages);
  REQUIRE(ended.code == 0);
  CHECK(ended.output.find(" ok\n") != std::string::npos);
  return read_json(folder / "report.json");
}

nlohmann::json report_on_double(const Words& more, const Words& machine) {
  return report_of([&](const Words& arguments) { return run_on_double(arguments, machine); }, more);
}

/// What both have taken and sent is what was planned.
void check_two_ranks(const nlohmann::json& report) {
  REQUIRE(report.at("ranks").size() == 2);
  for (const nlohmann::json& rank : report.at("ranks")) {
    CHECK(rank.at("planned") == rank.at("measured"));
    CHECK(rank.at("measured").at("message_bytes") > 0);
  }
}

std::vector<int> levels_of(const std::string& path) {
  const std::string bytes = file_text(path);
  std::vector<int> levels;
  for (const char byte : bytes) levels.push_back(static_cast<unsigned char>(byte));
  return levels;
}

struct Clip {
  std::string model;
  std::string size = "64";
  std::string frames = "9";
  Words options{};
  Words on_card{};
  int cards = 1;
};

/// A clip of the tiny models made on a card is that of the processor, up to what rounding moves: a level of the
/// pictures and some steps of the sound's 16 bits. Every stage used on the card and beside it the bytes of its plan.
void check_clip(const Clip& clip) {
  ScratchFolder folder;
  const std::string models = golden_models().string();
  const auto words = [&](const std::string& device) {
    return Words{"generate",
                 "--checkpoint-path",
                 models + "/" + clip.model + ".safetensors",
                 "--gemma-root",
                 models + "/gemma_tiny",
                 "--spatial-upsampler-path",
                 models + "/upscaler_tiny.safetensors",
                 "--prompt",
                 "a lighthouse",
                 "--max-length",
                 "128",
                 "--width",
                 clip.size,
                 "--height",
                 clip.size,
                 "--num-frames",
                 clip.frames,
                 "--threads",
                 "1",
                 "--dtype",
                 "f32",
                 "--device",
                 device,
                 "--report",
                 folder / (device + ".json"),
                 "--output-path",
                 folder / (device + ".y4m")} +
           clip.options;
  };
  const Ended on_cpu = run_ltx2(words("cpu"));
  CAPTURE(on_cpu.messages);
  REQUIRE(on_cpu.code == 0);
  const Ended on_card =
      run_on_double(words("cuda") + clip.on_card, {"LTXMEM_DOUBLE_DEVICES=" + std::to_string(clip.cards)},
                    {.limit = std::chrono::hours(2)});
  CAPTURE(on_card.messages);
  REQUIRE(on_card.code == 0);

  const std::vector<int> expected = levels_of(folder / "cpu.y4m");
  const std::vector<int> got = levels_of(folder / "cuda.y4m");
  REQUIRE(got.size() == expected.size());
  REQUIRE(got.size() > 1000);
  int most = 0;
  for (std::size_t i = 0; i < got.size(); ++i) most = std::max(most, std::abs(got[i] - expected[i]));
  CHECK(most <= 1);
  const ltx2::Audio expected_sound = ltx2::read_wav(folder / "cpu.wav");
  const ltx2::Audio sound = ltx2::read_wav(folder / "cuda.wav");
  REQUIRE(sound.samples.size() == expected_sound.samples.size());
  REQUIRE(sound.length() > 100);
  float difference = 0;
  float loudest = 0;
  for (std::size_t i = 0; i < sound.samples.size(); ++i) {
    difference = std::max(difference, std::abs(sound.samples[i] - expected_sound.samples[i]));
    loudest = std::max(loudest, std::abs(sound.samples[i]));
  }
  CHECK(loudest > 0.01F);
  CHECK(difference <= 8.0F / 32768.0F);

  const nlohmann::json report = read_json(folder / "cuda.json");
  CHECK(report.at("settings").at("device") == "cuda");
  CHECK(report.at("stages").size() >= 4);
  for (const nlohmann::json& stage : report.at("stages")) {
    INFO(stage.at("name"));
    CHECK(stage.at("measured").at("peak_bytes") == stage.at("planned").at("peak_bytes"));
    CHECK(stage.at("measured").at("peak_bytes").at("device") > 0);
  }
}

}  // namespace

TEST_CASE("The program checks cases on a card", "[cuda][cli]") {
  const Ended ended = run_on_double(check_words({"--device", "cuda"}));
  CAPTURE(ended.messages);
  CHECK(ended.code == 0);
  CHECK(ended.output.find(" ok\n") != std::string::npos);
}

TEST_CASE("The program takes the card that it is told", "[cuda][cli]") {
  CHECK(run_on_double(check_words({"--device", "cuda:1"}), {"LTXMEM_DOUBLE_DEVICES=2"}).code == 0);
  check_refused(run_on_double(check_words({"--device", "cuda:1"})), "CUDA device 1 does not exist, there are 1");
}

TEST_CASE("The program keeps rows and weights in the memory of other cards", "[cuda][cli][stores]") {
  const nlohmann::json report =
      report_on_double({"--device", "cuda", "--scheme", "E4", "--weights", "stream", "--store", "cuda:1,2=1GiB"},
                       {"LTXMEM_DOUBLE_DEVICES=3"});
  CHECK(report.at("settings").at("stored-blocks") > 0);
  const nlohmann::json& stores = report.at("stores");
  REQUIRE(stores.size() == 2);
  CHECK(stores[0].at("free_bytes") == (std::size_t{15} << 29));  // of 8 GiB, less 512 MiB
  CHECK(stores[1].at("free_bytes") == (std::size_t{1} << 30));
  for (const nlohmann::json& store : stores) {
    CHECK(store.at("measured").at("peak_bytes") > 0);
    CHECK(store.at("measured").at("peak_bytes") == store.at("planned").at("peak_bytes"));
  }
  check_refused(run_on_double(check_words({"--device", "cuda", "--store", "cuda:1=1GiB"})),
                "CUDA device 1 does not exist, there are 1");
}

TEST_CASE("The program says why there is no card", "[cuda][cli]") {
  const auto refused = [](const std::string& machine) {
    return run_on_double(check_words({"--device", "cuda"}), {"LTXMEM_DOUBLE_" + machine});
  };
  check_refused(refused("DEVICES=-1"), "no CUDA device can be used: ");
  check_refused(refused("DEVICES=0"), "no CUDA device can be used: ");
  check_refused(refused("CAPABILITY=75"), "has compute capability 7.5, needed is 8.0 or newer");
}

TEST_CASE("The program says that a card is too small", "[cuda][cli]") {
  check_refused(run_on_double(check_words({"--device", "cuda"}), {"LTXMEM_DOUBLE_MEMORY_BYTES=100000"}),
                "device memory");
}

/// The fewest steps of a full model's own sampling, unguided.
const Words two_steps{"--pipeline",
                      "one-stage",
                      "--num-inference-steps",
                      "2",
                      "--video-cfg-guidance-scale",
                      "1",
                      "--video-stg-guidance-scale",
                      "0",
                      "--a2v-guidance-scale",
                      "1",
                      "--audio-cfg-guidance-scale",
                      "1",
                      "--audio-stg-guidance-scale",
                      "0",
                      "--v2a-guidance-scale",
                      "1"};

TEST_CASE("The smallest clip with sound is on a card what it is on the processor", "[cuda][cli][clip]") {
  check_clip({.model = "ltx23_tiny", .size = "32", .frames = "1", .options = two_steps});
}

TEST_CASE("The smallest clip of 2.0 with sound is on a card what it is on the processor", "[cuda][cli][clip][long]") {
  check_clip({.model = "ltx20_tiny", .frames = "1", .options = two_steps});
}

TEST_CASE("A clip of several latent frames is on a card what it is on the processor", "[cuda][cli][clip][long]") {
  check_clip({.model = "ltx20_tiny", .frames = "17", .options = two_steps});
}

TEST_CASE("A clip from a picture, in two stages, is on a card what it is on the processor", "[cuda][cli][clip][long]") {
  const ScratchFolder folder;
  ltx2::Image picture{40, 24, {}};
  for (int i = 0; i < 40 * 24 * 3; ++i) picture.pixels.push_back(static_cast<std::uint8_t>(i * 7));
  ltx2::save_png(folder / "picture.png", picture);
  check_clip({.model = "ltx23_tiny", .options = {"--image", folder / "picture.png", "0", "0.9", "0"}});
}

TEST_CASE("The program says what failed in the middle of its work on a card", "[cuda][cli]") {
  const auto failed = [](const std::string& machine) {
    return run_on_double(check_words({"--device", "cuda"}), {"LTXMEM_DOUBLE_" + machine});
  };
  check_refused(failed("FAILING_ALLOCATION=1"), "device memory: out of memory: asked for ");
  check_refused(failed("FAILING_ALLOCATION=2"), "pinned memory: out of memory: asked for ");
  check_refused(failed("FAILING_LAUNCH=1"), "error 719 (cudaErrorLaunchFailure");
  check_refused(failed("FAILING_LAUNCH=50"), "error 719 (cudaErrorLaunchFailure");
  check_refused(failed("NO_PRODUCTS=1"), "cublasLt: no algorithm for ");
  check_refused(failed("GREEDY_PRODUCTS=1"), " bytes of workspace, granted are 4194304");
}

TEST_CASE("A clip that fails on a card leaves no file", "[cuda][cli]") {
  ScratchFolder folder;
  const Words generate = TinyModels::get().generate(folder / "clip.y4m", {"--device", "cuda"});
  check_refused(run_on_double(generate, {"LTXMEM_DOUBLE_FAILING_LAUNCH=40"}), "error 719 (cudaErrorLaunchFailure");
  check_refused(run_on_double(generate, {"LTXMEM_DOUBLE_FAILING_ALLOCATION=4"}), "out of memory: asked for ");
  CHECK(listing(folder.path()).empty());
}

TEST_CASE("The program says how many cards there are when ranks want more", "[cuda][cli][ranks]") {
  check_refused(run_on_double(check_words({"--device", "cuda", "--ranks", "2"})),
                "--device cuda with 2 ranks takes CUDA devices 0 to 1, there are 1");
  check_refused(run_on_double(check_words({"--device", "cuda:2", "--ranks", "3"}), {"LTXMEM_DOUBLE_DEVICES=4"}),
                "--device cuda:2 with 3 ranks takes CUDA devices 2 to 4, there are 4");
  check_refused(run_on_double(check_words({"--device", "cuda", "--ranks", "2"}), {"LTXMEM_DOUBLE_DEVICES=-1"}),
                "no CUDA device can be used: ");
}

TEST_CASE("A program without NCCL takes one card", "[cuda][cli][ranks]") {
  // The same files, without the library that a build makes where it finds NCCL.
  const std::filesystem::path built = std::filesystem::path(LTX2_PROGRAM).parent_path();
  const ScratchFolder folder;
  for (const char* name : {"ltx2", "libltx2_card.so"}) std::filesystem::copy(built / name, folder / name);
  const Words two_cards = {"LTXMEM_DOUBLE_DEVICES=2"};
  const std::string program = folder / "ltx2";
  CHECK(run_program(on_double(check_words({"--device", "cuda"}), two_cards, program)).code == 0);
  const Ended ended = run_program(on_double(check_words({"--device", "cuda", "--ranks", "2"}), two_cards, program));
  CAPTURE(ended.messages);
  CHECK(ended.code == 2);
  CHECK(ended.messages.find("this build has no NCCL, which carries messages between cards; expected one rank") !=
        std::string::npos);
}

#ifdef LTX2_DOUBLE_NCCL

TEST_CASE("The program takes a card for each rank", "[cuda][cli][ranks]") {
  const nlohmann::json report = report_on_double({"--device", "cuda:1", "--ranks", "2", "--parallel", "tensor"},
                                                 {"LTXMEM_DOUBLE_DEVICES=3"});
  CHECK(report.at("settings").at("device") == "cuda:1");
  check_two_ranks(report);
}

TEST_CASE("The program takes the card of an idle rank for memory", "[cuda][cli][ranks][stores]") {
  const nlohmann::json stores =
      report_on_double({"--device", "cuda", "--ranks", "3", "--scheme", "E4", "--store", "rank:2"},
                       {"LTXMEM_DOUBLE_DEVICES=3"})
          .at("stores");
  REQUIRE(stores.size() == 1);
  CHECK(stores[0].at("measured").at("peak_bytes") > 0);
  CHECK(stores[0].at("measured").at("peak_bytes") == stores[0].at("planned").at("peak_bytes"));
}

TEST_CASE("A clip of two cards, the first of which is idle, is that of the processor",
          "[cuda][cli][clip][ranks][long]") {
  check_clip({.model = "ltx23_tiny",
              .size = "32",
              .frames = "1",
              .options = two_steps,
              .on_card = {"--ranks", "2", "--primary", "idle"},
              .cards = 2});
}

TEST_CASE("A clip of two cards is that of the processor", "[cuda][cli][clip][ranks][long]") {
  check_clip({.model = "ltx23_tiny", .options = two_steps, .on_card = {"--ranks", "2"}, .cards = 2});
}

TEST_CASE("A card of several that fails ends the program with one line that names its rank", "[cuda][cli][ranks]") {
  const ScratchFolder folder;
  const Words machine{"LTXMEM_DOUBLE_DEVICES=2", "LTXMEM_DOUBLE_FAILING_DEVICE=1", "LTXMEM_DOUBLE_FAILING_LAUNCH=40"};
  check_refused(
      run_on_double(check_words({"--device", "cuda", "--ranks", "2", "--output", folder.path() + "/out"}), machine),
      "rank 1 failed in ");
  CHECK(listing(folder.path()).empty());
}

#ifdef LTX2_MPIEXEC

TEST_CASE("Processes have a card each, of those of their machine", "[cuda][cli][ranks][processes]") {
  const auto run = [](const std::string& cards, const Words& arguments) {
    const ScratchFolder messages;  // between the doubles of NCCL
    const Words machine{"LTXMEM_DOUBLE_DEVICES=" + cards, "LTXMEM_DOUBLE_NCCL=" + messages.path()};
    return run_processes({{2, on_double(arguments, machine)}}, {.limit = std::chrono::minutes(5)});
  };
  const auto run_on_three = [&](const Words& arguments) { return run("3", arguments); };
  check_two_ranks(report_of(run_on_three, {"--device", "cuda:1", "--primary", "busy"}));

  const Ended refused = run("2", check_words({"--device", "cuda:1"}));
  CAPTURE(refused.messages);
  CHECK(refused.code == 4);
  CHECK(refused.messages.find("rank 1: --device cuda:1 with 2 ranks takes CUDA device 2, there are 2") !=
        std::string::npos);
  CHECK(refused.output.empty());
}

#endif
#endif
