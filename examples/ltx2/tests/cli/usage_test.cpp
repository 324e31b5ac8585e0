// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <regex>
#include <sstream>

#include "support/catch.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// What the program says about a command line, and with which exit code.

namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using namespace ltx2::test;

/// The program must refuse the words with exit code 2 and one message that contains all of these texts.
void refused(const Words& words, const Words& texts) {
  const Ended ended = run_ltx2(words);
  CAPTURE(words);
  CHECK(ended.code == 2);
  CHECK_THAT(ended.messages, StartsWith("ltx2: error: "));
  CHECK(std::count(ended.messages.begin(), ended.messages.end(), '\n') == 1);
  for (const std::string& text : texts) CHECK_THAT(ended.messages, Contains(text));
  CHECK(ended.output.empty());
}

/// A small generate whose option has this value in the place of its own.
Words generate_with(const std::string& option, const std::string& value, const std::string& output) {
  Words words = TinyModels::get().generate(output);
  const auto found = std::find(words.begin(), words.end(), option);
  if (found == words.end()) {
    words.insert(words.end(), {option, value});
  } else {
    *(found + 1) = value;
  }
  return words;
}

TEST_CASE("Without a subcommand the program asks for one", "[cli]") {
  refused({}, {"subcommand is required", "ltx2 --help"});
  refused({""}, {"ltx2: error: "});
}

TEST_CASE("Misspelt subcommands and options are refused with the nearest one", "[cli]") {
  refused({"genrate"}, {"'genrate'", "generate?"});
  refused({"chek", "x"}, {"'chek'", "check?"});
  refused({"--verison"}, {"--verison", "--version?"});
  refused({"--hlep"}, {"--hlep", "--help?"});
  refused({"generate", "--promt", "x"}, {"--promt", "--prompt?"});
  refused({"generate", "--num-frame=9"}, {"--num-frame", "--num-frames?"});
  refused({"check", "--chekpoint-path", "x"}, {"--chekpoint-path", "--checkpoint-path?"});
  refused({"info", "--progres"}, {"--progres"});
  refused({"synth", "--progres", "none"}, {"--progres", "--progress?"});
}

TEST_CASE("What nothing resembles is refused without a guess", "[cli]") {
  const Ended ended = run_ltx2({"qqqqqqqqqqqq"});
  CHECK(ended.code == 2);
  CHECK_THAT(ended.messages, Contains("qqqqqqqqqqqq") && !Contains("did you mean"));
}

TEST_CASE("Missing arguments are named", "[cli]") {
  refused({"generate"}, {"required"});
  refused({"check"}, {"CASE", "required"});
  refused({"info"}, {"FILE", "required"});
  refused({"synth"}, {"required"});
  refused({"synth", "x"}, {"TARGET", "required"});
  refused({"plan", "--memory-budget=", "--device-profile", "cpu"}, {"--memory-budget= has no value"});
}

TEST_CASE("Bad values of options are refused by the option's name and the value", "[cli]") {
  struct Bad {
    const char* option;
    const char* value;
    const char* named;
  };
  const ScratchFolder folder;
  for (const Bad& bad : {Bad{"--width", "100", "100"},
                         {"--width", "-64", "-64"},
                         {"--width", "0", "0"},
                         {"--width", "wide", "wide"},
                         {"--height", "99999999999999999999", "99999999999999999999"},
                         {"--height", "6400000", "65536"},
                         {"--num-frames", "10", "10"},
                         {"--num-frames", "-7", "-7"},
                         {"--frame-rate", "0", "0"},
                         {"--frame-rate", "1e-300", "expected from 0.01 to 1000"},  // sound without end
                         {"--frame-rate", "nan", "nan"},
                         {"--frame-rate", "inf", "inf"},
                         {"--seed", "-1", "-1"},
                         {"--seed", "first", "first"},
                         {"--threads", "5000", "4096"},
                         {"--threads", "-1", "-1"},
                         {"--device", "tpu", "tpu"},
                         {"--dtype", "f8", "f8"},
                         {"--ffn-chunk", "0", "0"},
                         {"--query-tile", "-5", "-5"},
                         {"--key-tile", "1e3", "1e3"},
                         {"--verbose", "3", "3"},
                         {"--progress", "dots", "dots"},
                         {"--pipeline", "fast", "fast"},
                         {"--num-inference-steps", "-1", "-1"},
                         {"--max-length", "100", "100"},
                         {"--max-length", "200", "200"},
                         {"--video-rescale-scale", "1.5", "1.5"},
                         {"--audio-skip-step", "-1", "-1"}}) {
    CAPTURE(bad.option, bad.value);
    refused(generate_with(bad.option, bad.value, folder / "clip.y4m"), {bad.option, bad.named});
  }
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("Numbers of images and LoRAs that are none are refused", "[cli]") {
  const ScratchFolder folder;
  Words words = TinyModels::get().generate(folder / "clip.y4m");
  words.insert(words.end(), {"--image", "x.png", "first", "1"});
  refused(words, {"--image", "first"});
  words = TinyModels::get().generate(folder / "clip.y4m");
  words.insert(words.end(), {"--lora", "x.safetensors", "strong"});
  refused(words, {"--lora", "strong"});
}

TEST_CASE("Files and folders that are missing are named with their option", "[cli]") {
  const ScratchFolder folder;
  const std::string none = folder / "none";
  for (const char* option : {"--checkpoint-path", "--gemma-root", "--spatial-upsampler-path"}) {
    refused(generate_with(option, none, folder / "clip.y4m"), {option, none, "no such file"});
  }
  Words words = TinyModels::get().generate(folder / "clip.y4m");
  words.insert(words.end(), {"--image", none + ".png", "0", "1"});
  refused(words, {none + ".png"});
  words = TinyModels::get().generate(folder / "clip.y4m");
  words.insert(words.end(), {"--lora", none, "1"});
  refused(words, {none});
  refused({"info", none}, {none});
  refused({"check", none}, {none});
  refused({"synth", none, folder / "x"}, {none});
  refused({"check", golden_path("cases/vocode/v23_9.safetensors"), "--models", none}, {none});
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("Places that cannot hold an output are refused before the work", "[cli]") {
  const ScratchFolder folder;
  write_text(folder / "file", "");
  const auto before = listing(folder.path());
  const std::string below = folder / "file/x";  // nobody, not even root, makes a file below a file
  const std::string case_path = golden_path("cases/vocode/v23_9.safetensors");
  const std::string models = TinyModels::get().folder();
  for (const std::string kind : {".mp4", ".y4m", "/"}) {
    refused(TinyModels::get().generate(below + kind), {below});
    refused(TinyModels::get().generate("/proc/none/x" + kind), {"/proc/none"});
  }
  refused(TinyModels::get().generate("/proc/x.y4m"), {"/proc/x.y4m"});
  refused(TinyModels::get().generate(folder / "x.avi"), {"x.avi", ".mp4"});
  refused(TinyModels::get().generate(folder / "x.y4m", {"--report", below}), {"--report", below});
  refused(TinyModels::get().generate(folder / "x.y4m", {"--report", "/proc/x"}), {"/proc/x"});
  refused({"check", case_path, "--models", models, "--output", below}, {"--output", below});
  refused({"check", case_path, "--models", models, "--output", "/proc/x"}, {"--output", "/proc/x"});
  refused({"check", case_path, "--models", models, "--report", below}, {"--report", below});
  refused({"synth", golden_path("configs/gemma_tiny.json"), below}, {below});
  CHECK(listing(folder.path()) == before);
}

TEST_CASE("A check whose case fails leaves no output folder", "[cli]") {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "old");
  const auto before = listing(folder.path());
  const std::string case_path = golden_path("cases/vocode/v23_9.safetensors");
  for (const char* output : {"new", "new/below/", "old"}) {
    refused({"check", case_path, "--models", folder / "none", "--output", folder / output}, {"ltx23_tiny"});
    CHECK(listing(folder.path()) == before);
  }
}

TEST_CASE("A finished output never takes the place of a device or a folder", "[cli]") {
  const ScratchFolder folder;
  REQUIRE(::mkfifo((folder / "pipe.y4m").c_str(), 0600) == 0);
  std::filesystem::create_directory(folder / "folder");
  const auto before = listing(folder.path());
  refused(TinyModels::get().generate(folder / "pipe.y4m"), {"pipe.y4m", "not a regular file"});
  refused(TinyModels::get().generate(folder / "x.y4m", {"--report", folder / "pipe.y4m"}), {"not a regular file"});
  refused(TinyModels::get().generate(folder / "x.y4m", {"--report", folder / "folder"}), {"is a folder"});
  refused({"synth", golden_path("configs/gemma_tiny.json"), folder / "pipe.y4m"}, {"not a regular file"});
  CHECK(listing(folder.path()) == before);
}

TEST_CASE("A full standard output is a failure of the run", "[cli]") {
  if (!std::filesystem::exists("/dev/full")) return;
  const Ended ended =
      run_ltx2({"info", TinyModels::get().upsampler()}, {.signal = 0, .after = "", .standard_output = "/dev/full"});
  CHECK(ended.code == 4);
  CHECK_THAT(ended.messages, Contains("ltx2: error: cannot write to standard output"));
}

TEST_CASE("A failed comparison is exit code 1, a good one 0", "[cli]") {
  const ScratchFolder folder;
  const std::string good = golden_path("cases/vocode/v23_9.safetensors");
  std::string content = file_text(good);
  content[content.size() - 1] = '\x40';  // the last expected or input value becomes another one
  content[content.size() - 2] = '\x40';
  write_text(folder / "bad.safetensors", content);
  const Ended fine = run_ltx2({"check", good, "--models", TinyModels::get().folder()});
  CHECK(fine.code == 0);
  CHECK_THAT(fine.output, Contains("v23_9") && Contains(" ok"));
  const Ended failed = run_ltx2({"check", folder / "bad.safetensors", "--models", TinyModels::get().folder()});
  CHECK(failed.code == 1);
  CHECK_THAT(failed.output, Contains("v23_9") && Contains("FAIL"));
}

TEST_CASE("The version is told", "[cli]") {
  const Ended ended = run_ltx2({"--version"});
  CHECK(ended.code == 0);
  CHECK_THAT(ended.output, StartsWith("ltx2 (ltxmem "));
}

TEST_CASE("Help lists the subcommands and exit codes", "[cli]") {
  const Ended ended = run_ltx2({"--help"});
  CHECK(ended.code == 0);
  for (const char* text : {"generate", "check", "info", "synth", "130 interrupted", "--version"}) {
    CHECK_THAT(ended.output, Contains(text));
  }
}

TEST_CASE("Every option that a help text names is known", "[cli]") {
  const std::regex option("^  (?:-h,)?(--[a-z0-9-]+)");
  for (const char* command : {"generate", "check", "info", "synth"}) {
    const Ended help = run_ltx2({command, "--help"});
    CHECK(help.code == 0);
    std::size_t found = 0;
    std::istringstream lines(help.output);
    for (std::string line; std::getline(lines, line);) {
      std::smatch match;
      if (!std::regex_search(line, match, option) || match[1] == "--help") continue;
      ++found;
      CAPTURE(command, match[1].str());
      const Ended ended = run_ltx2({command, match[1].str()});  // without its value, or without the rest
      CHECK(ended.code == 2);
      CHECK_THAT(ended.messages, StartsWith("ltx2: error: ") && !Contains("unknown option"));
    }
    if (std::string(command) != "info") CHECK(found > 0);  // info has none
    CHECK_THAT(run_ltx2({command, "--no-such-option"}).messages, Contains("unknown option --no-such-option"));
  }
}

}  // namespace
