// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

/// Runs CUDA kernels on the processor, one fiber per thread, and checks every access to memory they make.
///
/// A kernel is an ordinary function compiled by g++ with -fsanitize=thread, whose hooks this executor implements
/// (libtsan is not linked): an access through any pointer reaches the checker. Blocks run one after another; the
/// threads of a block run in turns that change at barriers and warp operations, in a fixed or a seeded random order.
///
/// What it finds: accesses of two threads to the same bytes, one of them a write, with no barrier between; accesses
/// outside tracked memory; reads of memory that nobody wrote; barriers and warp operations that not all lanes reach;
/// asynchronous copies that are used before they were waited for. What it counts: see Counters.

namespace simt {

using Where = std::source_location;

struct Options {
  std::uint64_t seed = 0;     ///< 0: threads and blocks in order; otherwise a random order of both
  bool early_copies = false;  ///< cp.async lands when issued instead of when waited for
  bool patterns = true;       ///< count sectors and wavefronts, which takes most of the time; the checks never rest
};

/// Sums over all blocks of a launch. Bytes are those that instructions asked for; caches are not modelled.
struct Counters {
  std::uint64_t global_loaded_bytes = 0;
  std::uint64_t global_stored_bytes = 0;
  std::uint64_t shared_loaded_bytes = 0;
  std::uint64_t shared_stored_bytes = 0;
  std::uint64_t sectors = 0;           ///< aligned 32-byte pieces that warps touch in global memory
  std::uint64_t ideal_sectors = 0;     ///< the fewest that the same bytes could lie in
  std::uint64_t wavefronts = 0;        ///< passes over the banks of shared memory
  std::uint64_t ideal_wavefronts = 0;  ///< the same without bank conflicts
  std::uint64_t matrix_products = 0;   ///< mma of one warp
  std::uint64_t barriers = 0;          ///< of whole blocks
};

struct Report {
  Counters counters;
  std::vector<std::string> findings;  ///< one per kind and place; a fault, which ends the launch, is the last

  std::string text() const {
    std::string all;
    for (const std::string& finding : findings) all += finding + "\n";
    return all;
  }
};

struct Extent3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

/// Memory that kernels may use. Bytes are uninitialised until a kernel or the host has written them.
void track(const void* data, std::size_t bytes, const char* name, bool writable, bool initialised);
void untrack(const void* data);
/// Every later access to this tracked memory is a fault that says `why` ("use after free") and its name.
void forbid(const void* data, const char* why);

/// What the host does to tracked memory between launches; other memory counts as initialised.
bool initialised(const void* data, std::size_t bytes);
void note_write(const void* data, std::size_t bytes);
void note_copy(const void* to, const void* from, std::size_t bytes);  ///< to has been noted as written

namespace detail {
Report run(Extent3 grid, Extent3 block, std::size_t shared_bytes, const Options& options, void (*body)(const void*),
           const void* call, std::size_t call_bytes);
}

/// kernel<<<grid, block, shared_bytes>>>(arguments...), finished on return.
template <class... P>
Report launch(void (*kernel)(P...), Extent3 grid, Extent3 block, std::size_t shared_bytes, const Options& options,
              const std::type_identity_t<P>&... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::remove_const_t<P>...> arguments;
  };
  const Call call{kernel, {arguments...}};
  const auto body = [](const void* data) {
    const auto* that = static_cast<const Call*>(data);
    std::apply(that->kernel, that->arguments);
  };
  return detail::run(grid, block, shared_bytes, options, body, &call, sizeof call);
}

/// What device code calls; the files in replacement/ give these their CUDA names.
namespace device {
Extent3 thread_index();
Extent3 block_index();
Extent3 block_extent();
Extent3 grid_extent();

void barrier(Where where);
void warp_barrier(std::uint32_t mask, Where where);
enum class Shuffle : std::uint8_t { index, exclusive_or, up, down };
void shuffle(Shuffle kind, std::uint32_t mask, const void* in, void* out, std::size_t bytes, int argument, int width,
             Where where);
std::uint32_t ballot(std::uint32_t mask, bool predicate, Where where);

enum class Format : std::uint8_t { bf16, f16 };
void multiply_m16n8k16(Format format, float* d, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1,
                       Where where);
void load_matrices(bool transposed, std::uint32_t* out, const void* row, Where where);

void copy_async(void* to, const void* from, std::size_t bytes, bool valid, Where where);
void commit_copies();
void wait_copies(std::size_t newest_allowed);

void* dynamic_shared(std::size_t bytes, std::size_t alignment);
/// One load or store instruction.
void load(void* value, const void* from, std::size_t bytes, Where where);
void store(void* to, const void* value, std::size_t bytes, Where where);
}  // namespace device

}  // namespace simt
