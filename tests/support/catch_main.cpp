// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// main() of every test program. The last line it prints is "N passed, N failed", counted in test cases, whatever
/// reporter was chosen; tests/run.sh adds these lines up.

#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_RUNNER
#endif
#include "support/catch.hpp"

#include <csignal>
#include <iostream>
#include <optional>

namespace {

#if __has_include(<catch2/catch_all.hpp>)
using ListenerBase = Catch::EventListenerBase;
#else
using ListenerBase = Catch::TestEventListenerBase;
#endif

std::optional<Catch::Counts> cases;  // empty when the program only listed what it has

class CountCases : public ListenerBase {
 public:
  using ListenerBase::ListenerBase;
  void testRunEnded(const Catch::TestRunStats& stats) override { cases = stats.totals.testCases; }
};
CATCH_REGISTER_LISTENER(CountCases)

}  // namespace

int main(int argc, char** argv) {
  // Started in the background or by nohup, a program inherits ignored signals, and tests of interruption would wait.
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, SIG_DFL);
  const int status = Catch::Session().run(argc, argv);
  if (cases) {
    std::cout << cases->passed + cases->failedButOk << " passed, " << cases->failed << " failed" << std::endl;
  }
  return status;
}
