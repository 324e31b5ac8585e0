// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "tests/cuda/card.hpp"

/// What is left behind when a card fails while a model runs on it.

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// A case that changes the machine, and leaves the one that the other cases want.
struct OtherMachine {
  ~OtherMachine() { doubles::reset(doubles::settings_of_environment()); }
};

/// What a case says of its failure on that machine; empty when it ran to its end.
template <class E>
std::string failure_on(const doubles::Settings& machine) {
  doubles::reset(machine);
  std::string said;
  try {
    const Case test = read_case(golden_path("cases/text/23_connect_short.safetensors"));
    Runtime runtime(card_settings());
    ltxmem::HostResource copies;
    CaseModels models(golden_models(), {}, copies);
    const HostTensors got = run_text_case(test, models, runtime);
    CHECK(compare(test.expected, got).relative <= test.tolerance);
  } catch (const E& error) {
    said = error.what();
  }
  // After a kernel has failed, a device takes nothing back: its memory goes with the process.
  if (machine.failing_launch == 0) expect_clean_card();
  return said;
}

}  // namespace

TEST_CASE_METHOD(OtherMachine, "Memory of a card that runs out at any point is named and what was taken goes back",
                 "[cuda]") {
  int failures = 0;
  for (; failures < 30; ++failures) {
    INFO("allocation " << failures + 1);
    const std::string said = failure_on<ltxmem::OutOfMemory>({.failing_allocation = failures + 1});
    if (said.empty()) break;
    CHECK(said.find("memory: out of memory: asked for ") != std::string::npos);
  }
  CHECK(failures >= 2);  // of the device and of the host
  CHECK(failures < 30);
}

TEST_CASE_METHOD(OtherMachine, "A kernel of a model that fails on a card ends it in an error", "[cuda]") {
  CHECK(failure_on<ltxmem::DeviceError>({}).empty());
  for (const int which : {1, 5, 25}) {
    INFO("launch " << which);
    CHECK(failure_on<ltxmem::DeviceError>({.failing_launch = which}).find("error 719 (cudaErrorLaunchFailure") !=
          std::string::npos);
  }
}

TEST_CASE_METHOD(OtherMachine, "A product of a model that a card's library does not offer is named", "[cuda]") {
  CHECK(failure_on<ltxmem::DeviceError>({.no_products = true}).starts_with("cublasLt: no algorithm for "));
  CHECK(failure_on<ltxmem::DeviceError>({.greedy_products = true}).find(" bytes of workspace, granted are 4194304") !=
        std::string::npos);
}
