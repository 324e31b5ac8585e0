// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Shadow memory, races, counters, and the hooks that g++ -fsanitize=thread calls before every access.

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <span>
#include <tuple>

#include "simt/block.hpp"

namespace simt {

namespace {

struct Allocation {
  std::uintptr_t end = 0;
  std::string name;
  bool writable = false;
  Shadow shadow;
  const char* forbidden = nullptr;  // why nobody may use it
};

std::map<std::uintptr_t, Allocation>& allocations() {
  static std::map<std::uintptr_t, Allocation> all;
  return all;
}

std::map<std::uintptr_t, Allocation>::value_type* find_allocation(std::uintptr_t address) {
  auto after = allocations().upper_bound(address);
  if (after == allocations().begin()) return nullptr;
  --after;
  return address < after->second.end ? &*after : nullptr;
}

std::string other(std::uint32_t number, std::uint32_t thread) {
  const std::string who = thread == Granule::several ? "several threads" : "thread " + std::to_string(thread - 1);
  return ", the other is " + who + " of block " + std::to_string(number - block->earlier - 1);
}

// Whether the last write may happen at the same time as an access of this thread.
bool write_unordered(const Granule& g, bool shared) {
  if (g.write_block <= block->earlier) return false;
  if (g.write_block != block->number) return !shared;
  if (g.write_thread == self->index + 1 || g.write_epoch != block->epoch) return false;
  const bool same_warp = (g.write_thread - 1) / 32 == self->index / 32;
  return !same_warp || g.write_warp_epoch == self->warp->epoch;
}

// Whether some read since the last barrier may happen at the same time as a write of this thread.
bool reads_unordered(const Granule& g, bool shared) {
  if (g.read_block <= block->earlier) return false;
  if (g.read_block != block->number) return !shared;
  if (g.read_epoch != block->epoch) return false;
  if (g.read_warp != self->index / 32 + 1) return true;
  return g.read_warp_epoch == self->warp->epoch && g.read_thread != self->index + 1;
}

void note_read(Granule& g) {
  const std::uint32_t thread = self->index + 1;
  const std::uint32_t warp = self->index / 32 + 1;
  if (g.read_block > block->earlier && g.read_block != block->number) {
    g.read_thread = g.read_warp = Granule::several;
    g.read_block = block->number;
  } else if (g.read_block <= block->earlier || g.read_epoch != block->epoch) {
    g.read_block = block->number;
    g.read_thread = thread;
    g.read_warp = warp;
  } else if (g.read_warp != warp) {
    g.read_thread = g.read_warp = Granule::several;
  } else if (g.read_warp_epoch != self->warp->epoch) {
    g.read_thread = thread;
  } else if (g.read_thread != thread) {
    g.read_thread = Granule::several;
  }
  g.read_epoch = block->epoch;
  g.read_warp_epoch = self->warp->epoch;
}

void touch(Shadow& shadow, std::size_t index, bool write, const Site& site, const std::string& space, bool shared) {
  Granule& g = shadow.granules[index];
  if (g.in_flight) {
    note_finding(write ? "race: write under a cp.async in flight" : "race: read of a cp.async in flight", site,
                 space + other(g.write_block, g.write_thread));
  } else if (write_unordered(g, shared)) {
    note_finding(write ? "race: write after write" : "race: read after write", site,
                 space + other(g.write_block, g.write_thread));
  }
  if (!write) {
    if (shadow.written[index] == 0) note_finding("read of uninitialised memory", site, space);
    note_read(g);
    return;
  }
  if (reads_unordered(g, shared)) {
    note_finding("race: write after read", site, space + other(g.read_block, g.read_thread));
  }
  g.write_block = block->number;
  g.write_thread = self->index + 1;
  g.write_epoch = block->epoch;
  g.write_warp_epoch = self->warp->epoch;
  shadow.written[index] = 1;
}

// Passes that the 32 banks of 4 bytes need for these addresses: words of one bank wait for each other.
std::uint64_t bank_passes(std::vector<std::uintptr_t>& words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  std::uint64_t passes[32] = {};
  for (const std::uintptr_t word : words) ++passes[word % 32];
  return *std::max_element(passes, passes + 32);
}

// One instruction of a warp: accesses [begin, end) of its lanes, in the order of the lanes.
void count_instruction(const Access* begin, const Access* end) {
  Counters& counters = block->report->counters;
  static std::vector<std::uintptr_t> pieces;
  if (!begin->shared) {
    pieces.clear();
    std::uint64_t bytes = 0;
    for (const Access* access = begin; access != end; ++access) {
      bytes += access->bytes;
      for (auto piece = access->address / 32; piece <= (access->address + access->bytes - 1) / 32; ++piece) {
        pieces.push_back(piece);
      }
    }
    std::sort(pieces.begin(), pieces.end());
    counters.sectors += static_cast<std::uint64_t>(std::unique(pieces.begin(), pieces.end()) - pieces.begin());
    counters.ideal_sectors += (bytes + 31) / 32;
    return;
  }
  // 8-byte accesses take two phases of 16 lanes, 16-byte accesses four of 8.
  const std::uint32_t lanes = begin->bytes >= 16 ? 8 : begin->bytes == 8 ? 16 : 32;
  for (std::uint32_t first = 0; first < 32; first += lanes) {
    pieces.clear();
    for (const Access* access = begin; access != end; ++access) {
      if (access->lane / lanes != first / lanes) continue;
      for (auto word = access->address / 4; word <= (access->address + access->bytes - 1) / 4; ++word) {
        pieces.push_back(word);
      }
    }
    if (pieces.empty()) continue;
    counters.wavefronts += bank_passes(pieces);
    ++counters.ideal_wavefronts;
  }
}

}  // namespace

std::string Site::text() const {
  if (file == nullptr && line == 0) return "an unknown place";
  if (file == nullptr) {
    char text[48];
    std::snprintf(text, sizeof text, "program counter %#lx", static_cast<unsigned long>(line));
    return text;
  }
  const std::string path = file;
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(line);
}

void note_finding(const std::string& what, const Site& site, const std::string& detail) {
  if (!block->seen.insert(what + site.text()).second) return;
  block->report->findings.push_back(what + " at " + site.text() + ": thread " + std::to_string(self->index) +
                                    " of block " + std::to_string(block->number - block->earlier - 1) + ", " + detail);
}

bool in_shared(std::uintptr_t address, std::size_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(block->shared);
  return address >= begin && address + bytes <= begin + block->shared_bytes;
}

void check_access(std::uintptr_t address, std::size_t bytes, bool write, const Site& site, bool log) {
  static const std::string shared_memory = "shared memory";
  Counters& counters = block->report->counters;
  if (self->fiber.holds(address)) return;
  const bool shared = in_shared(address, bytes);
  if (shared) {
    const std::uintptr_t offset = address - reinterpret_cast<std::uintptr_t>(block->shared);
    for (std::size_t g = offset / granule_bytes; g <= (offset + bytes - 1) / granule_bytes; ++g) {
      touch(block->shared_shadow, g, write, site, shared_memory, true);
    }
    (write ? counters.shared_stored_bytes : counters.shared_loaded_bytes) += bytes;
  } else if (auto* found = find_allocation(address)) {
    Allocation& allocation = found->second;
    if (allocation.forbidden != nullptr) fault(std::string(allocation.forbidden) + " of " + allocation.name, site);
    if (address + bytes > allocation.end) fault("out of bounds of " + allocation.name, site);
    if (write && !allocation.writable) fault("write to read-only " + allocation.name, site);
    const std::uintptr_t offset = address - found->first;
    for (std::size_t g = offset / granule_bytes; g <= (offset + bytes - 1) / granule_bytes; ++g) {
      touch(allocation.shadow, g, write, site, allocation.name, false);
    }
    (write ? counters.global_stored_bytes : counters.global_loaded_bytes) += bytes;
  } else {
    Dl_info program;
    const bool constant = dladdr(reinterpret_cast<const void*>(address), &program) != 0;
    const bool parameter = address >= block->call_begin && address < block->call_end;
    if (!write && (constant || parameter)) return;
    fault(std::string("out of bounds ") + (write ? "write" : "read") + " of " + std::to_string(bytes) + " bytes", site);
  }
  if (log && block->options.patterns) {
    self->warp->accesses.push_back(
        {site, write ? 1U : 0U, self->lane, address, static_cast<std::uint32_t>(bytes), shared});
  }
}

void mark_in_flight(const AsyncCopy& copy, bool in_flight) {
  const auto offset = static_cast<std::size_t>(copy.to - block->shared);
  for (std::size_t g = offset / granule_bytes; g <= (offset + copy.bytes - 1) / granule_bytes; ++g) {
    Granule& granule = block->shared_shadow.granules[g];
    granule.in_flight = in_flight;
    granule.write_epoch = block->epoch;
    granule.write_warp_epoch = self->warp->epoch;
  }
}

void count_matrix_rows(const void* const* rows) {
  std::vector<std::uintptr_t> words;
  for (int r = 0; r < 8; ++r) {
    for (std::uintptr_t w = 0; w < 4; ++w) words.push_back(reinterpret_cast<std::uintptr_t>(rows[r]) / 4 + w);
  }
  block->report->counters.wavefronts += bank_passes(words);
  ++block->report->counters.ideal_wavefronts;
}

void count_accesses(Warp& warp) {
  std::vector<Access>& all = warp.accesses;
  // A load and a store of one statement share their site; `turn` tells them apart until it becomes the turn.
  std::stable_sort(all.begin(), all.end(), [](const Access& a, const Access& b) {
    return std::tie(a.site, a.shared, a.turn, a.lane) < std::tie(b.site, b.shared, b.turn, b.lane);
  });
  std::uint32_t kind = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::uint32_t write = all[i].turn;
    const bool same = i > 0 && all[i - 1].site == all[i].site && all[i - 1].shared == all[i].shared && kind == write &&
                      all[i - 1].lane == all[i].lane;
    kind = write;
    all[i].turn = same ? all[i - 1].turn + 2 : write;
  }
  std::stable_sort(all.begin(), all.end(), [](const Access& a, const Access& b) {
    return std::tie(a.site, a.shared, a.turn, a.lane) < std::tie(b.site, b.shared, b.turn, b.lane);
  });
  for (std::size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    while (end < all.size() && all[end].site == all[begin].site && all[end].shared == all[begin].shared &&
           all[end].turn == all[begin].turn) {
      ++end;
    }
    count_instruction(all.data() + begin, all.data() + end);
  }
  all.clear();
}

void track(const void* data, std::size_t bytes, const char* name, bool writable, bool initialised) {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  allocations()[begin] = {begin + bytes, name, writable, Shadow(bytes, initialised)};
}

void forbid(const void* data, const char* why) {
  Allocation& allocation = allocations().at(reinterpret_cast<std::uintptr_t>(data));
  allocation.forbidden = why;
  allocation.shadow = Shadow(0, false);
}

namespace {
// Which granules of the bytes have been written; empty outside of tracked memory.
std::span<std::uint8_t> written(const void* data, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  auto* found = find_allocation(address);
  if (found == nullptr || found->second.forbidden != nullptr || bytes == 0) return {};
  const std::size_t first = (address - found->first) / granule_bytes;
  const std::size_t last = (address - found->first + bytes - 1) / granule_bytes;
  return std::span(found->second.shadow.written).subspan(first, last - first + 1);
}
}  // namespace

bool initialised(const void* data, std::size_t bytes) {
  const std::span<const std::uint8_t> granules = written(data, bytes);
  return std::find(granules.begin(), granules.end(), 0) == granules.end();
}

void note_write(const void* data, std::size_t bytes) {
  const std::span<std::uint8_t> granules = written(data, bytes);
  std::fill(granules.begin(), granules.end(), std::uint8_t{1});
}

void note_copy(const void* to, const void* from, std::size_t bytes) {
  const std::span<const std::uint8_t> source = written(from, bytes);
  const std::span<std::uint8_t> target = written(to, bytes);
  std::copy_n(source.begin(), std::min(source.size(), target.size()), target.begin());
}

void untrack(const void* data) {
  allocations().erase(reinterpret_cast<std::uintptr_t>(data));
}

namespace {
void hook(const void* address, std::size_t bytes, bool write, const void* counter) {
  if (!checking) return;
  const Pause pause;
  check_access(reinterpret_cast<std::uintptr_t>(address), bytes, write, Site(counter));
}
}  // namespace

}  // namespace simt

// The names are fixed by the compiler.
// NOLINTBEGIN
#define SIMT_HOOKS(N)                                     \
  void __tsan_read##N(void* p) {                          \
    simt::hook(p, N, false, __builtin_return_address(0)); \
  }                                                       \
  void __tsan_write##N(void* p) {                         \
    simt::hook(p, N, true, __builtin_return_address(0));  \
  }                                                       \
  void __tsan_unaligned_read##N(void* p) {                \
    simt::hook(p, N, false, __builtin_return_address(0)); \
  }                                                       \
  void __tsan_unaligned_write##N(void* p) {               \
    simt::hook(p, N, true, __builtin_return_address(0));  \
  }                                                       \
  void __tsan_volatile_read##N(void* p) {                 \
    simt::hook(p, N, false, __builtin_return_address(0)); \
  }                                                       \
  void __tsan_volatile_write##N(void* p) {                \
    simt::hook(p, N, true, __builtin_return_address(0));  \
  }
extern "C" {
SIMT_HOOKS(1)
SIMT_HOOKS(2)
SIMT_HOOKS(4)
SIMT_HOOKS(8)
SIMT_HOOKS(16)
void __tsan_read_range(void* p, std::size_t n) {
  simt::hook(p, n, false, __builtin_return_address(0));
}
void __tsan_write_range(void* p, std::size_t n) {
  simt::hook(p, n, true, __builtin_return_address(0));
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_init() {}
}
// NOLINTEND
