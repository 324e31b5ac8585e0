// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/step_trace.hpp"

#include <algorithm>
#include <sstream>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/program.hpp"
#include "tests/support/transformer_example.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;

/// A line of the trace, read back: the words of the step, then planned and actual of each space.
struct TraceLine {
  std::string step;
  std::vector<std::string> numbers;
};

TraceLine parse(const std::string& line) {
  std::istringstream words(line);
  std::vector<std::string> all;
  for (std::string word; words >> word;) all.push_back(word);
  TraceLine parsed;
  REQUIRE(all.size() > 6);
  parsed.numbers.assign(all.end() - 6, all.end());
  for (std::size_t i = 0; i + 6 < all.size(); ++i) parsed.step += (i == 0 ? "" : " ") + all[i];
  return parsed;
}

/// "queries" of "queries 12".
std::string name_of(const std::string& step) {
  const std::size_t end = step.find_last_not_of("0123456789");
  return end + 1 < step.size() ? step.substr(0, end) : step;
}

/// The lines that a pass says, without the heads.
std::vector<std::string> traced_pass(Settings settings, Scheme scheme, std::int64_t& steps) {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 7, 10, 10, 40);
  settings.scheme = scheme;
  Runtime runtime(settings);
  std::vector<std::string> lines;
  runtime.watch({.stage_began = [](const std::string&) {},
                 .announced = [](std::int64_t) {},
                 .stepped = [] {},
                 .stage_ended = [] {},
                 .said = [&](const std::string& line) { lines.push_back(line); }});
  {
    const Stage stage(runtime, "pass");
    input.run(runtime, *checkpoint);
  }
  steps = runtime.report().stages.back().operations.steps;
  CHECK(runtime.report().planned_peak() == runtime.report().measured_peak());
  return lines;
}

}  // namespace

TEST_CASE("The plan of a step is the most that it holds until the next one begins", "[trace]") {
  ltxmem::Record record;
  using ltxmem::MemorySpace;
  record.taken(MemorySpace::device, "x", 100);
  record.enter_step("block", 0);
  record.enter_step("keys", -1);
  record.taken(MemorySpace::device, "k", 10);
  record.add_compute("work", ltxmem::Arithmetic::f32, 1, 1);
  record.released(MemorySpace::device, "k", 10);
  record.leave_step();
  record.taken(MemorySpace::pinned, "slot", 7);  // after the keys, before the queries
  record.enter_step("queries", 0);
  record.add_compute("work", ltxmem::Arithmetic::f32, 1, 1);
  record.leave_step();
  record.enter_step("queries", 1);
  record.taken(MemorySpace::device, "q", 50);
  record.add_compute("work", ltxmem::Arithmetic::f32, 1, 1);
  record.released(MemorySpace::device, "q", 50);
  record.leave_step();
  record.leave_step();
  const auto planned = planned_by_step(record);
  CHECK(planned.at("keys") == SpaceBytes{110, 7, 0});
  CHECK(planned.at("queries") == SpaceBytes{150, 7, 0});
}

TEST_CASE("Verbose 2 says every step of a pass, and the largest turn of each is as planned", "[trace]") {
  for (const Scheme scheme : {Scheme::plain, Scheme::e1, Scheme::e2, Scheme::e3, Scheme::e4}) {
    CAPTURE(scheme_name(scheme));
    Settings settings = case_settings();
    settings.verbose = 2;
    std::int64_t steps = 0;
    const std::vector<std::string> lines = traced_pass(settings, scheme, steps);
    REQUIRE(!lines.empty());
    CHECK(lines.front() ==
          "step, MiB                    device plan       actual  pinned plan       actual    host plan"
          "       actual");
    CHECK(static_cast<std::int64_t>(lines.size()) == steps + 1);
    std::map<std::string, std::pair<std::vector<std::string>, std::vector<double>>> most;
    for (std::size_t i = 1; i < lines.size(); ++i) {
      CHECK(lines[i].size() == lines.front().size());  // columns stay where they are
      const TraceLine line = parse(lines[i]);
      auto& [planned, actual] = most[name_of(line.step)];
      planned = {line.numbers[0], line.numbers[2], line.numbers[4]};
      actual.resize(3);
      for (std::size_t space = 0; space < 3; ++space) {
        const std::string& text = line.numbers[2 * space + 1];
        actual[space] = std::max(actual[space], text == "-" ? 0.0 : std::stod(text));
      }
    }
    CHECK(most.size() >= 2);
    for (const auto& [name, numbers] : most) {
      CAPTURE(name);
      for (std::size_t space = 0; space < 3; ++space) {
        const std::string& planned = numbers.first[space];
        CHECK(numbers.second[space] == (planned == "-" ? 0.0 : std::stod(planned)));
      }
    }
  }
}

TEST_CASE("Without verbose 2 nothing is said of steps", "[trace]") {
  std::int64_t steps = 0;
  CHECK(traced_pass(case_settings(), Scheme::e1, steps).empty());
}

TEST_CASE("generate with verbose 2 says memory per step on standard error", "[trace][cli]") {
  const ScratchFolder folder;
  const Ended ended = run_ltx2(TinyModels::get().generate(folder / "clip.y4m", {"--verbose", "2"}));
  CHECK(ended.code == 0);
  CHECK_THAT(ended.messages, Contains("step, MiB") && Contains("device plan") && Contains("\nblock 0 "));
  CHECK(ended.output.find("step, MiB") == std::string::npos);
}
