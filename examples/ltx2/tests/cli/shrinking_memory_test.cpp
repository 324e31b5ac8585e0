// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <random>

#include "cli/exit_code.hpp"
#include "cli/program.hpp"
#include "support/catch.hpp"
#include "tests/support/program.hpp"

/// Memory that becomes less while generate runs: from some moment on every request for a large block is refused, as by
/// a device that others use too. What HostResource asks the system for passes through here.

namespace {

/// Blocks that count; smaller ones are not what a budget is about.
constexpr std::size_t large = 4096;

std::atomic<std::int64_t> live_bytes{0};
std::atomic<std::int64_t> requests{0};
std::atomic<std::int64_t> granted{-1};  ///< requests of large blocks that succeed; negative: all

void* take(std::size_t bytes, std::align_val_t alignment) noexcept {
  if (bytes >= large) {
    const std::int64_t limit = granted;
    if (requests++ >= limit && limit >= 0) return nullptr;
  }
  const auto unit = static_cast<std::size_t>(alignment);
  void* pointer = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (pointer != nullptr) live_bytes += static_cast<std::int64_t>(::malloc_usable_size(pointer));
  return pointer;
}

std::atomic<std::int64_t> small_requests{0};
std::atomic<std::int64_t> refused_small{-1};  ///< the one request of the heap that is refused; negative: none

}  // namespace

void* operator new(std::size_t bytes) {
  void* pointer = small_requests++ == refused_small ? nullptr : std::malloc(bytes > 0 ? bytes : 1);
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return ::operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* pointer) noexcept {
  std::free(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
  std::free(pointer);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return take(bytes, alignment);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  void* pointer = take(bytes, alignment);
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}
void operator delete(void* pointer, std::align_val_t) noexcept {
  if (pointer != nullptr) live_bytes -= static_cast<std::int64_t>(::malloc_usable_size(pointer));
  std::free(pointer);
}
void operator delete(void* pointer, std::size_t, std::align_val_t alignment) noexcept {
  ::operator delete(pointer, alignment);
}

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

/// The program in this process, with its messages in a file.
struct Here {
  int code = 0;
  std::string messages;
};
Here run_here(std::vector<std::string> words, const std::string& message_file) {
  words.insert(words.begin(), "ltx2");
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  std::fflush(stderr);
  const int messages = ::open(message_file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const int kept = ::dup(2);
  ::dup2(messages, 2);
  Here here;
  here.code = run_program(static_cast<int>(pointers.size()), pointers.data(), {});
  std::fflush(stderr);
  ::dup2(kept, 2);
  ::close(kept);
  ::close(messages);
  std::ifstream file(message_file);
  here.messages.assign(std::istreambuf_iterator<char>(file), {});
  return here;
}

/// How often a run asks, by a counter of requests: once for what stays for good (tables, threads' own memory), once to
/// count. What it wrote is removed.
std::int64_t requests_of_run(const std::vector<std::string>& words, const std::string& message_file,
                             const std::string& folder, std::atomic<std::int64_t>& counter) {
  REQUIRE(run_here(words, message_file).code == 0);
  counter = 0;
  REQUIRE(run_here(words, message_file).code == 0);
  const std::int64_t count = counter;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) std::filesystem::remove(entry.path());
  return count;
}

}  // namespace

TEST_CASE("Memory that becomes less during generate ends it with 4, a named stage, no file and no memory held",
          "[cli][shrink]") {
  const ScratchFolder scratch;
  const ScratchFolder folder;
  const std::string messages = scratch / "messages";
  const std::vector<std::string> words =
      TinyModels::get().generate(folder / "clip.y4m", {"--scheme", "E3", "--weights", "stream"});
  const std::int64_t count = requests_of_run(words, messages, folder.path(), requests);
  REQUIRE(count > 10);

  std::mt19937 random(4);
  std::set<std::int64_t> points{0, count - 1};
  while (points.size() < 10) points.insert(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(count)));
  std::set<std::string> stages;
  for (const std::int64_t point : points) {
    CAPTURE(point, count);
    const std::int64_t before = live_bytes;
    requests = 0;
    granted = point;
    const Here here = run_here(words, messages);
    granted = -1;
    CHECK(here.code == static_cast<int>(ExitCode::failed_running));
    CHECK_THAT(here.messages, Contains("ltx2: error: ") && Contains("out of memory: asked for "));
    for (const char* stage : {"text", "stage 1", "upsample", "stage 2", "audio decode", "video decode"}) {
      if (here.messages.find("error: " + std::string(stage) + ": ") == std::string::npos) continue;
      CHECK_THAT(here.messages, Contains(" memory: out of memory: asked for ") && Contains(" in use of ") &&
                                    Contains("; planned peak of ") && Contains(", most of it "));
      stages.insert(stage);
    }
    CHECK(leftovers(folder.path()).empty());
    CHECK(live_bytes == before);
  }
  CHECK(stages.size() >= 3);
}

TEST_CASE("A small request that the heap refuses ends generate with 4, a named stage, no file and no memory held",
          "[cli][shrink]") {
  const ScratchFolder scratch;
  const ScratchFolder folder;
  const std::string messages = scratch / "messages";
  const std::vector<std::string> words = TinyModels::get().generate(folder / "clip.y4m");
  const std::int64_t count = requests_of_run(words, messages, folder.path(), small_requests);
  std::set<std::string> stages;
  // The first half is the tokenizer's library, which crashes when it is refused something.
  for (int part = 20; part < 40; ++part) {
    const std::int64_t point = count * part / 40;
    CAPTURE(point, count);
    const std::int64_t before = live_bytes;
    small_requests = 0;
    refused_small = point;
    const Here here = run_here(words, messages);
    refused_small = -1;
    CHECK(here.code == static_cast<int>(ExitCode::failed_running));
    CHECK_THAT(here.messages, Contains("ltx2: error: ") && Contains("out of memory"));
    for (const char* stage : {"text", "stage 1", "upsample", "stage 2", "audio decode", "video decode"}) {
      const std::string named = "ltx2: error: " + std::string(stage) + ": out of memory: the heap refused something";
      if (Contains(named).match(here.messages)) stages.insert(stage);
    }
    CHECK(leftovers(folder.path()).empty());
    CHECK(live_bytes == before);
  }
  CHECK(stages.size() >= 2);
}

TEST_CASE("A calibration that gets no memory says what it asked for, without a limit that there is not",
          "[cli][shrink]") {
  const ScratchFolder scratch;
  granted = requests = 0;
  const Here here = run_here({"calibrate", "--quick", "--folder", scratch.path()}, scratch / "messages");
  granted = -1;
  CHECK(here.code == static_cast<int>(ExitCode::failed_running));
  CHECK_THAT(here.messages, StartsWith("ltx2: error: host memory: out of memory: asked for "));
  CHECK_THAT(here.messages, !Contains("18446744073709551615"));
}
