// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Threads, barriers, warp operations and asynchronous copies.

#include "simt/executor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>

#include "ltxmem/core/dtype.hpp"
#include "simt/block.hpp"

namespace simt {

Block* block = nullptr;
Thread* self = nullptr;
bool checking = false;

namespace {

Fiber host;
std::uint32_t blocks_before = 0;  // of all launches that have ended

// Fibers outlive launches: giving a stack its first frame costs more than switching to it.
std::vector<std::unique_ptr<Thread>> pool;

Thread* next_thread() {
  if (block->ready.empty()) return nullptr;
  if (block->options.seed != 0) std::swap(block->ready.front(), block->ready[block->random() % block->ready.size()]);
  Thread* next = block->threads[block->ready.front()];
  block->ready.pop_front();
  return next;
}

// Goes on with another thread; returns when this one is chosen again.
void give_way() {
  Thread* me = self;
  Thread* next = next_thread();
  if (next == me) return;
  self = next;
  Fiber::change(me->fiber, next == nullptr ? host : next->fiber);
}

void wait_here(const char* name, const Site& site) {
  self->waits_in = name;
  self->waits_at = site;
  give_way();
}

void release(unsigned index) {
  block->threads[index]->waits_in = nullptr;
  block->ready.push_back(index);
}

void release_barrier() {
  ++block->epoch;
  ++block->report->counters.barriers;
  block->at_barrier = 0;
  for (Warp& warp : block->warps) count_accesses(warp);
  for (Thread* thread : block->threads) {
    if (thread->waits_in != nullptr && std::strcmp(thread->waits_in, "__syncthreads") == 0) release(thread->index);
  }
}

void run_thread() {
  block->body(reinterpret_cast<const void*>(block->call_begin));
  checking = false;
  const bool unfinished =
      std::any_of(self->copy_groups.begin(), self->copy_groups.end(), [](const auto& group) { return !group.empty(); });
  if (unfinished || !self->open_copies.empty()) note_finding("cp.async that nobody waits for", Site(), "at exit");
  self->done = true;
  self->warp->exited |= 1U << self->lane;
  for (const Meeting& meeting : self->warp->meetings) {
    if ((meeting.mask >> self->lane & 1U) != 0) fault("a lane exits that a warp operation waits for", meeting.site);
  }
  if (block->at_barrier > 0) fault("a thread exits while others wait at a barrier", block->barrier_site);
  --block->alive;
}

// The first frame of every fiber: runs its thread of one block after another.
void fiber_main() {
  for (;;) {
    checking = true;
    run_thread();
    Thread* me = self;
    Thread* next = next_thread();
    self = next;
    Fiber::change(me->fiber, next == nullptr ? host : next->fiber);
  }
}

// Meets the other lanes of the mask; the last to arrive runs the operation for all, with everybody's in and out.
template <class Operation>
void meet(const char* name, std::uint32_t mask, const Site& site, const void* in, void* out, Operation operation) {
  Warp& warp = *self->warp;
  if ((mask >> self->lane & 1U) == 0) fault(std::string(name) + ": the calling lane is not in its mask", site);
  if ((mask & ~warp.members) != 0) fault(std::string(name) + ": the mask names lanes that do not exist", site);
  if ((mask & warp.exited) != 0) fault(std::string(name) + ": the mask names lanes that have exited", site);
  Meeting* meeting = nullptr;
  for (Meeting& open : warp.meetings) {
    if (open.mask == mask) meeting = &open;
    if (open.mask != mask && (open.mask & mask) != 0) {
      fault(std::string("divergent warp operation: ") + open.name + " at " + open.site.text() +
                " has another mask than " + name,
            site);
    }
  }
  for (Meeting& open : warp.meetings) {
    if (meeting == nullptr && open.mask == 0) {
      meeting = &open;
      *meeting = {mask, 0, name, site};
    }
  }
  if (meeting == nullptr) fault("more than four warp operations at once", site);
  if (std::strcmp(meeting->name, name) != 0 || meeting->site != site) {
    fault(std::string("divergent warp operation: ") + meeting->name + " at " + meeting->site.text() + " meets " + name,
          site);
  }
  warp.in[self->lane] = in;
  warp.out[self->lane] = out;
  meeting->arrived |= 1U << self->lane;
  if (meeting->arrived != mask) {
    wait_here(name, site);
    return;
  }
  *meeting = {};
  if (mask == warp.members) count_accesses(warp);
  operation(warp);
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) != 0 && lane != self->lane) release(warp.first + lane);
  }
  if (block->options.seed != 0) {
    block->ready.push_back(self->index);
    give_way();
  }
}

float element(device::Format format, std::uint32_t pair, unsigned which) {
  const auto bits = static_cast<std::uint16_t>(pair >> (16 * which));
  if (format == device::Format::f16) return ltxmem::detail::half_value(bits);
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

void land(const AsyncCopy& copy) {
  if (copy.valid) {
    std::memcpy(copy.to, copy.from, copy.bytes);
  } else {
    std::memset(copy.to, 0, copy.bytes);
  }
}

void run_block() {
  Block& b = *block;
  b.alive = b.threads_count;
  b.at_barrier = 0;
  b.epoch = 1;
  b.ready.clear();
  b.shared_shadow = Shadow(b.shared_bytes);
  std::memset(b.shared, 0xff, b.shared_bytes);
  b.warps.assign((b.threads_count + 31) / 32, {});
  for (unsigned i = 0; i < b.threads_count; ++i) {
    Thread& thread = *b.threads[i];
    thread.index = i;
    thread.lane = i % 32;
    thread.warp = &b.warps[i / 32];
    thread.warp->first = i / 32 * 32;
    thread.warp->members |= 1U << thread.lane;
    thread.done = false;
    thread.waits_in = nullptr;
    thread.open_copies.clear();
    thread.copy_groups.clear();
    b.ready.push_back(i);
  }
  self = next_thread();
  Fiber::change(host, self->fiber);
  checking = false;
  if (b.fault.empty() && b.alive > 0) {
    b.fault = "deadlock:";
    for (const Thread* thread : b.threads) {
      if (!thread->done && b.fault.size() < 300) {
        b.fault += " thread " + std::to_string(thread->index) + " waits in " + thread->waits_in + " at " +
                   thread->waits_at.text() + ";";
      }
    }
  }
  if (b.fault.empty()) {
    for (Warp& warp : b.warps) count_accesses(warp);
  }
  self = nullptr;
}

}  // namespace

void fault(const std::string& what, const Site& site) {
  checking = false;
  block->fault = what + " at " + site.text() + ", thread " + std::to_string(self->index) + " of block " +
                 std::to_string(block->number - block->earlier - 1);
  Fiber::change(self->fiber, host);
  std::abort();
}

namespace detail {

Report run(Extent3 grid, Extent3 extent, std::size_t shared_bytes, const Options& options, void (*body)(const void*),
           const void* call, std::size_t call_bytes) {
  constexpr std::size_t red_zone = 4096;
  Report report;
  Block b;
  b.grid = grid;
  b.extent = extent;
  b.threads_count = extent.x * extent.y * extent.z;
  b.options = options;
  b.random.seed(options.seed);
  b.body = body;
  b.call_begin = reinterpret_cast<std::uintptr_t>(call);
  b.call_end = b.call_begin + call_bytes;
  b.report = &report;
  const std::size_t memory_bytes = (shared_bytes + 2 * red_zone + 1023) / 1024 * 1024;
  const std::unique_ptr<char, decltype(&std::free)> memory(static_cast<char*>(std::aligned_alloc(1024, memory_bytes)),
                                                           &std::free);
  b.shared = memory.get() + red_zone;
  b.shared_bytes = shared_bytes;
  while (pool.size() < b.threads_count) {
    pool.push_back(std::make_unique<Thread>());
    pool.back()->fiber.start(&fiber_main);
  }
  for (unsigned i = 0; i < b.threads_count; ++i) b.threads.push_back(pool[i].get());

  std::vector<std::uint32_t> order(static_cast<std::size_t>(grid.x) * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0U);
  if (options.seed != 0) std::shuffle(order.begin(), order.end(), b.random);
  block = &b;
  b.earlier = blocks_before;
  blocks_before += static_cast<std::uint32_t>(order.size());
  for (const std::uint32_t number : order) {
    b.number = b.earlier + number + 1;
    b.index = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    run_block();
    if (!b.fault.empty()) {
      report.findings.push_back(b.fault);
      pool.clear();  // their threads stand in the middle of a kernel
      break;
    }
  }
  block = nullptr;
  return report;
}

}  // namespace detail

namespace device {

Extent3 thread_index() {
  const Extent3& extent = block->extent;
  const unsigned i = self->index;
  return {i % extent.x, i / extent.x % extent.y, i / extent.x / extent.y};
}
Extent3 block_index() {
  return block->index;
}
Extent3 block_extent() {
  return block->extent;
}
Extent3 grid_extent() {
  return block->grid;
}

void barrier(Where where) {
  const Pause pause;
  const Site site(where);
  if (block->at_barrier > 0 && block->barrier_site != site) {
    fault("divergent barrier: other threads wait at " + block->barrier_site.text(), site);
  }
  block->barrier_site = site;
  if (block->alive < block->threads_count) fault("a barrier that some threads have passed by and exited", site);
  if (++block->at_barrier < block->threads_count) {
    wait_here("__syncthreads", site);
    return;
  }
  release_barrier();
  if (block->options.seed != 0) {
    block->ready.push_back(self->index);
    give_way();
  }
}

void warp_barrier(std::uint32_t mask, Where where) {
  const Pause pause;
  meet("__syncwarp", mask, where, nullptr, nullptr, [&](Warp& warp) {
    if (mask == warp.members) ++warp.epoch;
  });
}

void shuffle(Shuffle kind, std::uint32_t mask, const void* in, void* out, std::size_t bytes, int argument, int width,
             Where where) {
  const Pause pause;
  struct In {
    const void* value;
    int argument;
  };
  const In mine{in, argument};
  meet("__shfl_sync", mask, where, &mine, out, [&](Warp& warp) {
    for (int lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1U) == 0) continue;
      const int its = static_cast<const In*>(warp.in[static_cast<std::size_t>(lane)])->argument;
      const int begin = lane / width * width;
      int source = lane;
      switch (kind) {
        case Shuffle::index: source = begin + (its & (width - 1)); break;
        case Shuffle::exclusive_or: source = lane ^ its; break;
        case Shuffle::up: source = lane - its; break;
        case Shuffle::down: source = lane + its; break;
      }
      if (source < begin || source >= begin + width) source = lane;
      if ((mask >> source & 1U) == 0) fault("__shfl_sync reads a lane outside its mask", where);
      std::memcpy(warp.out[static_cast<std::size_t>(lane)],
                  static_cast<const In*>(warp.in[static_cast<std::size_t>(source)])->value, bytes);
    }
  });
}

std::uint32_t ballot(std::uint32_t mask, bool predicate, Where where) {
  const Pause pause;
  std::uint32_t votes = 0;
  meet("__ballot_sync", mask, where, &predicate, &votes, [&](Warp& warp) {
    std::uint32_t all = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1U) != 0 && *static_cast<const bool*>(warp.in[lane])) all |= 1U << lane;
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1U) != 0) *static_cast<std::uint32_t*>(warp.out[lane]) = all;
    }
  });
  return votes;
}

// Fragments of mma.m16n8k16 with 16-bit operands. With g = lane / 4 and t = lane % 4: A's registers hold rows g, g + 8,
// g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8 (and the next one); B's hold rows 2t and 2t + 8 (and the next) of column
// g; C's hold row g, then row g + 8, at columns 2t and 2t + 1. Source  PTX ISA, "Matrix Fragments for mma.m16n8k16 with
// floating point type"
void multiply_m16n8k16(Format format, float* d, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1,
                       Where where) {
  const Pause pause;
  struct In {
    const std::uint32_t* a;
    std::uint32_t b[2];
  };
  const In mine{a, {b0, b1}};
  meet("mma", ~0U, where, &mine, d, [&](Warp& warp) {
    ++block->report->counters.matrix_products;
    float left[16][16];
    float right[16][8];
    for (unsigned lane = 0; lane < 32; ++lane) {
      const auto& in = *static_cast<const In*>(warp.in[lane]);
      const unsigned g = lane / 4;
      const unsigned t = lane % 4 * 2;
      for (unsigned i = 0; i < 2; ++i) {
        left[g][t + i] = element(format, in.a[0], i);
        left[g + 8][t + i] = element(format, in.a[1], i);
        left[g][t + 8 + i] = element(format, in.a[2], i);
        left[g + 8][t + 8 + i] = element(format, in.a[3], i);
        right[t + i][g] = element(format, in.b[0], i);
        right[t + 8 + i][g] = element(format, in.b[1], i);
      }
    }
    float product[16][8] = {};
    for (unsigned m = 0; m < 16; ++m) {
      for (unsigned k = 0; k < 16; ++k) {
        for (unsigned n = 0; n < 8; ++n) product[m][n] += left[m][k] * right[k][n];
      }
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      auto* out = static_cast<float*>(warp.out[lane]);
      const unsigned g = lane / 4;
      const unsigned t = lane % 4 * 2;
      for (unsigned i = 0; i < 2; ++i) {
        out[i] += product[g][t + i];
        out[2 + i] += product[g + 8][t + i];
      }
    }
  });
}

// ldmatrix.x4: lane 8 i + r gives the address of row r of matrix i; register i of a lane receives elements 2t and
// 2t + 1 of row g of matrix i, or of its transpose.
// Source  PTX ISA, "Warp-level matrix load instruction: ldmatrix"
void load_matrices(bool transposed, std::uint32_t* out, const void* row, Where where) {
  const Pause pause;
  const auto address = reinterpret_cast<std::uintptr_t>(row);
  if (address % 16 != 0) fault("ldmatrix: a row address is not a multiple of 16", where);
  if (!in_shared(address, 16)) fault("ldmatrix: out of bounds of shared memory", where);
  check_access(address, 16, false, where, false);
  meet("ldmatrix", ~0U, where, row, out, [&](Warp& warp) {
    for (unsigned i = 0; i < 4; ++i) {
      count_matrix_rows(&warp.in[8 * i]);
      std::uint16_t matrix[8][8];
      for (unsigned r = 0; r < 8; ++r) std::memcpy(matrix[r], warp.in[8 * i + r], 16);
      for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned g = lane / 4;
        const unsigned t = lane % 4 * 2;
        const std::uint32_t low = transposed ? matrix[t][g] : matrix[g][t];
        const std::uint32_t high = transposed ? matrix[t + 1][g] : matrix[g][t + 1];
        static_cast<std::uint32_t*>(warp.out[lane])[i] = high << 16 | low;
      }
    }
  });
}

void copy_async(void* to, const void* from, std::size_t bytes, bool valid, Where where) {
  const Pause pause;
  const auto target = reinterpret_cast<std::uintptr_t>(to);
  const auto source = reinterpret_cast<std::uintptr_t>(from);
  if (target % bytes != 0 || source % bytes != 0) fault("cp.async: an address is not aligned", where);
  if (!in_shared(target, bytes)) fault("cp.async: out of bounds of shared memory", where);
  if (valid) check_access(source, bytes, false, where);
  check_access(target, bytes, true, where);
  const AsyncCopy copy{static_cast<char*>(to), static_cast<const char*>(from), bytes, valid};
  mark_in_flight(copy, true);
  if (block->options.early_copies) land(copy);
  self->open_copies.push_back(copy);
}

void commit_copies() {
  const Pause pause;
  self->copy_groups.push_back(std::move(self->open_copies));
  self->open_copies.clear();
}

void wait_copies(std::size_t newest_allowed) {
  const Pause pause;
  while (self->copy_groups.size() > newest_allowed) {
    for (const AsyncCopy& copy : self->copy_groups.front()) {
      if (!block->options.early_copies) land(copy);
      mark_in_flight(copy, false);
    }
    self->copy_groups.pop_front();
  }
}

void* dynamic_shared(std::size_t bytes, std::size_t alignment) {
  const Pause pause;
  if (bytes > block->shared_bytes) {
    fault("the kernel uses " + std::to_string(bytes) + " bytes of shared memory, the launch gives " +
              std::to_string(block->shared_bytes),
          Site());
  }
  if (alignment > 1024) fault("shared memory is aligned to 1024 bytes", Site());
  return block->shared;
}

void load(void* value, const void* from, std::size_t bytes, Where where) {
  const Pause pause;
  const auto address = reinterpret_cast<std::uintptr_t>(from);
  if (address % bytes != 0) fault("misaligned load", where);
  check_access(address, bytes, false, where);
  std::memcpy(value, from, bytes);
}

void store(void* to, const void* value, std::size_t bytes, Where where) {
  const Pause pause;
  const auto address = reinterpret_cast<std::uintptr_t>(to);
  if (address % bytes != 0) fault("misaligned store", where);
  check_access(address, bytes, true, where);
  std::memcpy(to, value, bytes);
}

}  // namespace device

}  // namespace simt
