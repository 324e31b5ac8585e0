// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/program.hpp"
#include "tests/support/transformer_example.hpp"

/// The plan against the operating system: what a pass adds to the resident set of its process.

#ifndef LTXMEM_SANITIZED

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// What a process may take beyond its plan: stacks of threads, code that oneDNN generates, bookkeeping of the heap.
constexpr std::int64_t constant_bytes = std::int64_t{4} << 20;

/// A line of /proc/self/status, in bytes.
std::int64_t status_bytes(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  throw std::runtime_error("/proc/self/status has no " + key);
}

struct Growth {
  std::int64_t planned = 0;   ///< of all memory spaces, which are one memory here
  std::int64_t resident = 0;  ///< at the peak, without pages of files
};

/// Runs the action in a process of its own and returns what it wrote.
template <class Action>
Growth in_a_child(Action&& action) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      const Growth growth = action();
      if (::write(ends[1], &growth, sizeof growth) == static_cast<ssize_t>(sizeof growth)) code = 0;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    ::_exit(code);
  }
  ::close(ends[1]);
  Growth growth;
  const ssize_t count = ::read(ends[0], &growth, sizeof growth);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0 || count != static_cast<ssize_t>(sizeof growth)) throw std::runtime_error("the child failed");
  return growth;
}

/// One block of a transformer of eight times the tiny width, so that a pass takes much more than the constant.
Description wide_transformer() {
  Json json = read_json_file(golden_path("configs/ltx23_tiny.json"));
  json["components"] = Json::array({"transformer"});
  Json& transformer = json["config"]["transformer"];
  transformer["num_layers"] = 1;
  transformer["attention_head_dim"] = 128;
  transformer["cross_attention_dim"] = 512;
  return parse_description(json, "wide");
}

Growth grown_by_a_pass(Scheme scheme, bool touch_more) {
  SynthesisedCheckpoint checkpoint(wide_transformer());
  MadeUpInput input(checkpoint.config(), 16, 12, 16, 40);
  return in_a_child([&] {
    // Memory that is given back leaves the process, so that nothing that was there before hides what is taken.
    ::mallopt(M_MMAP_THRESHOLD, 1 << 16);
    ::malloc_trim(0);
    Settings settings = case_settings(ltxmem::DType::f32);
    settings.scheme = scheme;
    settings.threads = 2;
    Runtime runtime(settings);
    TransformerModel model(runtime, *checkpoint);
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
    const std::int64_t files_before = status_bytes("RssFile");
    const std::int64_t before = status_bytes("VmRSS");
    {
      const Stage stage(runtime, "pass");
      model.predict(input.input(), input.output());
    }
    std::string more;
    if (touch_more) more.assign(static_cast<std::size_t>(3 * constant_bytes), 'x');
    Growth growth;
    for (const std::size_t bytes : runtime.report().planned_peak()) growth.planned += static_cast<std::int64_t>(bytes);
    growth.resident = status_bytes("VmHWM") - before - (status_bytes("RssFile") - files_before);
    if (touch_more && more.back() != 'x') growth.resident = 0;
    return growth;
  });
}

}  // namespace

TEST_CASE("A pass adds to the resident set what was planned and no more than a constant beside", "[memory]") {
  for (const Scheme scheme : {Scheme::plain, Scheme::e1, Scheme::e3}) {
    const Growth growth = grown_by_a_pass(scheme, false);
    CAPTURE(scheme_name(scheme), growth.planned, growth.resident);
    CHECK(growth.resident <= growth.planned + constant_bytes);
    CHECK(growth.resident >= growth.planned - growth.planned / 10);  // the system does see the run
    CHECK(growth.planned > 4 * constant_bytes);                      // and the constant does not hide it
  }
}

TEST_CASE("Memory that no plan knows of shows in the resident set", "[memory]") {
  const Growth growth = grown_by_a_pass(Scheme::e1, true);
  CAPTURE(growth.planned, growth.resident);
  CHECK(growth.resident > growth.planned + constant_bytes);
}

TEST_CASE("A whole generate takes its plan beside the mapped files, and no more than a constant", "[memory][cli]") {
  // The program and its libraries, the kernels that they make, stacks and heaps of threads.
  constexpr std::size_t program_bytes = std::size_t{24} << 20;
  const ScratchFolder folder;
  for (const std::vector<std::string>& placement :
       {std::vector<std::string>{"--scheme", "E1"}, {"--scheme", "E3", "--weights", "stream"}}) {
    std::vector<std::string> words = TinyModels::get().generate(folder / "clip.y4m", placement, {}, "640");
    words.insert(words.end(), {"--dtype", "f32", "--report", folder / "report.json"});
    const Ended run = run_ltx2(words);
    REQUIRE(run.code == 0);
    const Json report = read_json_file(folder / "report.json");
    std::size_t planned = 0;
    for (const Json& stage : report.at("stages")) {
      std::size_t sum = 0;  // of the spaces, which are one memory here
      for (const Json& bytes : stage.at("planned").at("peak_bytes")) sum += bytes.get<std::size_t>();
      planned = std::max(planned, sum);
    }
    const auto mapped = report.at("mapped_bytes").get<std::size_t>();
    CAPTURE(planned, mapped, run.most_resident_bytes);
    CHECK(run.most_resident_bytes <= mapped + planned + program_bytes);
    CHECK(run.most_resident_bytes >= planned);
    CHECK(planned > 3 * program_bytes);
  }
}

#endif
