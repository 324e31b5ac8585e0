// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "ltxmem/core/error.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "media/child_process.hpp"
#include "media/cleanup.hpp"
#include "media/files.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::Interrupt;
using ltx2::test::message_of;
using ltx2::test::ScratchFolder;
using namespace std::chrono_literals;

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return condition();
}

/// Runs a hidden test of this program as a process of its own; returns how it ended.
std::string run_hidden_test(const std::string& name, const std::string& folder) {
  const ltx2::test::ScopedVariable variable("LTX2_TEST_FOLDER", folder);
  ltx2::ChildProcess child({"/proc/self/exe", name});
  return message_of<ltxmem::IoError>([&] { child.finish(); });
}

/// Hidden tests end their process. They are tagged [long] as well because a filter that only excludes would run them;
/// [child] takes them out of a run of all [long] cases. One that was not started by run_hidden_test fails.
std::string folder_of_hidden_test() {
  const char* folder = std::getenv("LTX2_TEST_FOLDER");
  if (folder == nullptr) FAIL("only for run_hidden_test");
  return folder;
}

TEST_CASE("each of the three signals becomes a stop request") {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    CAPTURE(number);
    const Interrupt interrupt;
    CHECK_FALSE(interrupt.requested());
    std::raise(number);
    CHECK(eventually([&] { return interrupt.requested(); }));
    CHECK(interrupt.token().stop_requested());
  }
}

TEST_CASE("the first signal is told once") {
  std::atomic<int> calls = 0;
  {
    const Interrupt interrupt([&calls] { ++calls; });
    std::raise(SIGINT);
    CHECK(eventually([&] { return calls == 1; }));
  }
  CHECK(calls == 1);
}

TEST_CASE("without a signal nothing is told and the end comes at once") {
  const auto start = std::chrono::steady_clock::now();
  {
    const Interrupt interrupt([] { FAIL("told"); });
  }
  CHECK(std::chrono::steady_clock::now() - start < 1s);
}

TEST_CASE("afterwards signals do what they did before") {
  struct sigaction before {};
  struct sigaction after {};
  ::sigaction(SIGINT, nullptr, &before);
  {
    const Interrupt interrupt;
    struct sigaction during {};
    ::sigaction(SIGINT, nullptr, &during);
    CHECK(during.sa_handler != before.sa_handler);
  }
  ::sigaction(SIGINT, nullptr, &after);
  CHECK(after.sa_handler == before.sa_handler);
}

TEST_CASE("a signal that was ignored from the start stays ignored") {
  const auto old = std::signal(SIGHUP, SIG_IGN);
  {
    const Interrupt interrupt;
    std::raise(SIGHUP);
    std::this_thread::sleep_for(50ms);
    CHECK_FALSE(interrupt.requested());
  }
  std::signal(SIGHUP, old);
}

TEST_CASE("there can be only one watcher of signals") {
  const Interrupt first;
  CHECK_THROWS_AS(Interrupt(), ltxmem::Error);
}

TEST_CASE("a second watcher works after the first has gone") {
  { const Interrupt first; }
  const Interrupt second;
  std::raise(SIGTERM);
  CHECK(eventually([&] { return second.requested(); }));
}

TEST_CASE("hidden: two signals with temporaries and a child", "[.][long][child]") {
  const std::string folder = folder_of_hidden_test();
  const Interrupt interrupt;
  const ltx2::TemporaryOutput file(folder + "/clip.mp4");
  const ltx2::TemporaryOutput pictures(folder + "/frames/", ltx2::TemporaryOutput::Kind::folder);
  ltx2::test::write_text(pictures.path() + "/frame.png", "x");
  const ltxmem::SafetensorsWriter model(folder + "/model.safetensors", {});
  const ltx2::RegisteredPath temporary(model.temporary_path());
  const ltx2::ChildProcess child({"/bin/sh", "-c", "sleep 0.5; echo > '" + folder + "/written by the child'"});
  std::raise(SIGINT);
  if (!eventually([&] { return interrupt.requested(); })) ::_exit(1);
  std::raise(SIGINT);
  std::this_thread::sleep_for(20s);
  ::_exit(2);
}

TEST_CASE("the second signal ends the process with 130, without its temporaries and children") {
  const ScratchFolder folder;
  const auto start = std::chrono::steady_clock::now();
  CHECK(run_hidden_test("hidden: two signals with temporaries and a child", folder.path()) ==
        "exe ended with exit status 130");
  CHECK(std::chrono::steady_clock::now() - start < 10s);
  std::this_thread::sleep_for(800ms);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("hidden: three signals while the first is still being told", "[.][long][child]") {
  folder_of_hidden_test();
  std::atomic<bool> told = false;
  const Interrupt interrupt([&told] {
    told = true;
    std::this_thread::sleep_for(20s);
  });
  std::raise(SIGINT);
  if (!eventually([&] { return told.load(); })) ::_exit(1);
  std::raise(SIGINT);
  std::raise(SIGINT);
  ::_exit(2);
}

TEST_CASE("the third signal ends the process even when the watching thread is stuck") {
  const ScratchFolder folder;
  CHECK(run_hidden_test("hidden: three signals while the first is still being told", folder.path()) ==
        "exe ended with exit status 130");
}

TEST_CASE("hidden: std::exit with a temporary file", "[.][long][child]") {
  folder_of_hidden_test();
  const ltx2::TemporaryOutput file(folder_of_hidden_test() + "/clip.mp4");
  std::exit(3);
}

TEST_CASE("leaving through std::exit removes temporaries too") {
  const ScratchFolder folder;
  CHECK(run_hidden_test("hidden: std::exit with a temporary file", folder.path()) == "exe ended with exit status 3");
  CHECK(folder.entry_count() == 0);
}

}  // namespace
