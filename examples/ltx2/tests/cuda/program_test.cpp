// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "tests/cuda/card.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

/// The program on a CUDA device, here a test double: the very files that a device would run, which find the doubles
/// where they look for CUDA's libraries.

namespace {

using namespace ltx2::test;

Ended run_on_double(const Words& arguments, const Words& machine = {}) {
  return run_program(Words{"/usr/bin/env", "LD_LIBRARY_PATH=" LTX2_DOUBLES, "LD_PRELOAD=" LTX2_DOUBLE_KERNELS} +
                     machine + Words{LTX2_PROGRAM} + arguments);
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

TEST_CASE("The program refuses ranks on a card", "[cuda][cli]") {
  const Ended ended = run_on_double(check_words({"--device", "cuda", "--ranks", "2"}));
  CHECK(ended.code == 2);
  CHECK(ended.messages.find("--device cuda with 2 ranks, expected 1") != std::string::npos);
}
