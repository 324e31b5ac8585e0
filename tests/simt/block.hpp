// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "simt/executor.hpp"
#include "simt/fiber.hpp"

/// What the executor and its checker share: the block that is being run.

namespace simt {

/// A place in the source: file and line where an operation brings them along, otherwise a program counter.
struct Site {
  const char* file = nullptr;
  std::uintptr_t line = 0;
  unsigned column = 0;

  Site() = default;
  Site(Where where) : file(where.file_name()), line(where.line()), column(where.column()) {}  // NOLINT
  explicit Site(const void* counter) : line(reinterpret_cast<std::uintptr_t>(counter)) {}
  auto operator<=>(const Site&) const = default;
  std::string text() const;
};

struct AsyncCopy {
  char* to;
  const char* from;
  std::size_t bytes;
  bool valid;
};

struct Warp;

struct Thread {
  Fiber fiber;
  unsigned index = 0;
  unsigned lane = 0;
  Warp* warp = nullptr;
  bool done = false;
  const char* waits_in = nullptr;
  Site waits_at;
  std::vector<AsyncCopy> open_copies;
  std::deque<std::vector<AsyncCopy>> copy_groups;
};

/// One access of one lane. Accesses of a warp at the same site, the n-th there since the lanes last met, are one
/// instruction.
struct Access {
  Site site;
  std::uint32_t turn = 0;
  std::uint32_t lane = 0;
  std::uintptr_t address = 0;
  std::uint32_t bytes = 0;
  bool shared = false;
};

/// A warp operation that some lanes of its mask have reached.
struct Meeting {
  std::uint32_t mask = 0;
  std::uint32_t arrived = 0;
  const char* name = nullptr;
  Site site;
};

struct Warp {
  unsigned first = 0;
  std::uint32_t members = 0;
  std::uint32_t exited = 0;
  std::uint32_t epoch = 0;  ///< __syncwarp of all lanes since the block began
  std::array<Meeting, 4> meetings{};
  std::array<const void*, 32> in{};
  std::array<void*, 32> out{};
  std::vector<Access> accesses;
};

/// Who wrote and read a granule last. Threads are counted from 1, so that 0 says nobody.
struct Granule {
  static constexpr std::uint32_t several = ~0U;
  std::uint32_t write_block = 0, write_thread = 0, write_epoch = 0, write_warp_epoch = 0;
  std::uint32_t read_block = 0, read_thread = 0, read_warp = 0, read_epoch = 0, read_warp_epoch = 0;
  bool in_flight = false;
};

/// Granules are two bytes, the narrowest element that kernels store.
inline constexpr std::size_t granule_bytes = 2;

/// What is known of some memory, granule by granule. Whether anybody wrote them lies apart: copies and products of the
/// doubles ask for that alone, of megabytes at a time.
struct Shadow {
  explicit Shadow(std::size_t bytes = 0, bool initialised = false)
      : granules((bytes + granule_bytes - 1) / granule_bytes), written(granules.size(), initialised ? 1 : 0) {}

  std::vector<Granule> granules;
  std::vector<std::uint8_t> written;
};

struct Block {
  Extent3 grid, extent, index;
  std::uint32_t number = 0;   ///< counted over all launches, so that marks of earlier ones need not be wiped
  std::uint32_t earlier = 0;  ///< number of the last block of earlier launches
  unsigned threads_count = 0;
  unsigned alive = 0;
  unsigned at_barrier = 0;
  Site barrier_site;
  std::uint32_t epoch = 1;  ///< barriers since the block began
  std::vector<Thread*> threads;
  std::vector<Warp> warps;
  std::deque<unsigned> ready;
  std::mt19937_64 random;
  Options options;
  char* shared = nullptr;
  std::size_t shared_bytes = 0;
  Shadow shared_shadow;
  std::uintptr_t call_begin = 0, call_end = 0;
  void (*body)(const void*) = nullptr;
  std::string fault;
  std::set<std::string> seen;
  Report* report = nullptr;
};

extern Block* block;   ///< null while no kernel runs
extern Thread* self;   ///< the thread that runs
extern bool checking;  ///< false while the executor itself runs

/// Switches checking off for its life, because the executor may run instrumented copies of standard templates.
class Pause {
 public:
  Pause() : before_(checking) { checking = false; }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  ~Pause() { checking = before_; }

 private:
  bool before_;
};

/// Ends the launch with a finding. The stacks of the block are abandoned where they are.
[[noreturn]] void fault(const std::string& what, const Site& site);

// The checker.
void note_finding(const std::string& what, const Site& site, const std::string& detail);
void check_access(std::uintptr_t address, std::size_t bytes, bool write, const Site& site, bool log = true);
void mark_in_flight(const AsyncCopy& copy, bool in_flight);
void count_matrix_rows(const void* const* rows);
void count_accesses(Warp& warp);
bool in_shared(std::uintptr_t address, std::size_t bytes);

}  // namespace simt
