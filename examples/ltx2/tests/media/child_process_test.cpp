// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/child_process.hpp"

#include <chrono>
#include <csignal>
#include <cstddef>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::ChildProcess;
using ltx2::test::message_of;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::vector<std::string> shell(const std::string& script) {
  return {"/bin/sh", "-c", script};
}

TEST_CASE("a child's output is what it made of its input") {
  ChildProcess child({"/bin/cat"});
  child.write(bytes_of("first "));
  child.write(bytes_of("second"));
  CHECK(text_of(child.finish()) == "first second");
}

TEST_CASE("arguments reach a child without any shell in between") {
  ChildProcess child({"/bin/echo", "a  b; $HOME '*'"});
  CHECK(text_of(child.finish()) == "a  b; $HOME '*'\n");
}

TEST_CASE("megabytes pass through a child that writes as it reads") {
  const std::string data(std::size_t{5} << 20, 'x');
  ChildProcess child({"/bin/cat"});
  child.write(bytes_of(data));
  CHECK(text_of(child.finish()) == data);
}

TEST_CASE("a child that talks much before it reads does not block") {
  ChildProcess child(shell("head -c 1000000 /dev/zero >&2; cat"));
  child.write(bytes_of("end"));
  CHECK(text_of(child.finish()) == "end");
}

TEST_CASE("a failing child's exit status and last words are reported") {
  ChildProcess child(shell("echo the reason >&2; exit 7"));
  const std::string message = message_of<ltxmem::IoError>([&] { child.finish(); });
  CHECK(message == "sh ended with exit status 7: the reason");
}

TEST_CASE("only the end of long messages is kept") {
  ChildProcess child(shell("head -c 100000 /dev/zero | tr '\\0' 'a' >&2; echo last line >&2; exit 1"));
  const std::string message = message_of<ltxmem::IoError>([&] { child.finish(); });
  CHECK(message.size() < 5000);
  CHECK(message.ends_with("last line"));
}

TEST_CASE("a child that dies while it is written to is an error and no SIGPIPE") {
  ChildProcess child(shell("echo cannot go on >&2; exit 3"));
  const std::string data(std::size_t{4} << 20, 'x');
  const std::string message = message_of<ltxmem::IoError>([&] { child.write(bytes_of(data)); });
  CHECK(message == "sh ended with exit status 3 before it had read everything: cannot go on");
}

TEST_CASE("a child killed by a signal is reported with the signal") {
  ChildProcess child(shell("kill -9 $$"));
  const std::string message = message_of<ltxmem::IoError>([&] { child.finish(); });
  CHECK(message.find("was ended by signal 9") != std::string::npos);
}

TEST_CASE("a program that does not exist cannot be started") {
  const std::string message = message_of<ltxmem::IoError>([] { ChildProcess child({"/nonexistent/program"}); });
  CHECK(message == "program: cannot start: No such file or directory");
}

TEST_CASE("a stop request ends the wait for a child that never reads") {
  std::stop_source stop;
  ChildProcess child({"/bin/sleep", "60"}, stop.get_token());
  const std::string data(std::size_t{4} << 20, 'x');
  std::jthread requester([&stop] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.request_stop();
  });
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(child.write(bytes_of(data)), ltxmem::Cancelled);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}

TEST_CASE("a stop request ends the wait for a child's end") {
  std::stop_source stop;
  ChildProcess child({"/bin/sleep", "60"}, stop.get_token());
  stop.request_stop();
  CHECK_THROWS_AS(child.finish(), ltxmem::Cancelled);
}

TEST_CASE("destroying a running child kills it") {
  const ltx2::test::ScratchFolder folder;
  const auto start = std::chrono::steady_clock::now();
  {
    ChildProcess child(shell("echo $$ > " + (folder / "id") + "; exec sleep 60"));
    while (!std::filesystem::exists(folder / "id") || ltx2::test::file_text(folder / "id").empty()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  CHECK(::kill(std::stoi(ltx2::test::file_text(folder / "id")), 0) != 0);
}

TEST_CASE("a child runs in a process group of its own, so that Ctrl-C reaches only the program") {
  ChildProcess child(shell("ps -o pgid= -p $$ 2>/dev/null || cut -d ' ' -f 5 /proc/$$/stat"));
  CHECK(std::stoi(text_of(child.finish())) != ::getpgrp());
}

TEST_CASE("programs are found in PATH") {
  CHECK(ltx2::find_program("sh").has_value());
  CHECK_FALSE(ltx2::find_program("no-such-program-anywhere").has_value());
}

TEST_CASE("an empty PATH finds nothing, not even in the working folder") {
  const ltx2::test::ScopedVariable path("PATH", "");
  CHECK_FALSE(ltx2::find_program("sh").has_value());
}

TEST_CASE("files that may not be executed and folders are no programs") {
  const ltx2::test::ScratchFolder folder;
  ltx2::test::write_text(folder / "tool", "text");
  std::filesystem::create_directory(folder / "other");
  const ltx2::test::ScopedVariable path("PATH", folder.path());
  CHECK_FALSE(ltx2::find_program("tool").has_value());
  CHECK_FALSE(ltx2::find_program("other").has_value());
  std::filesystem::permissions(folder / "tool", std::filesystem::perms::owner_all);
  CHECK(ltx2::find_program("tool") == folder / "tool");
}

}  // namespace
