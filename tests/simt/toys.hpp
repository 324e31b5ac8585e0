// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "simt/executor.hpp"

/// Small kernels with known mistakes, for the tests of the executor itself. Each takes 64 threads and 64 elements.

namespace simt::toys {

struct Arguments {
  const float* in = nullptr;
  float* out = nullptr;
  std::uint32_t* words = nullptr;
  int choice = 0;
};

using Kernel = void (*)(Arguments);

void reverse(Arguments);                    ///< correct: through shared memory with a barrier
void reverse_without_barrier(Arguments);    ///< reads what another thread writes
void overwrite_without_barrier(Arguments);  ///< writes what another thread still reads
void past_the_end(Arguments);               ///< out[64]
void raw_past_the_end(Arguments);           ///< the same through a plain pointer
void read_only(Arguments);                  ///< writes to in
void uninitialised_shared(Arguments);
void uninitialised_global(Arguments);  ///< reads out before anybody wrote it
void barrier_in_branch(Arguments);
void two_barriers(Arguments);  ///< half of the threads at one barrier, half at another
void shuffle_in_branch(Arguments);
void warp_exchange(Arguments);  ///< correct: through shared memory within a warp, with __syncwarp
void warp_exchange_without_barrier(Arguments);
void copy(Arguments);  ///< correct: cp.async, wait, barrier
void copy_without_wait(Arguments);
void copy_without_commit(Arguments);
void copy_never_waited_for(Arguments);
void blocks_write_the_same(Arguments);  ///< launched with two blocks
void column_access(Arguments);          ///< 32 threads, 4 bytes each, `choice` words apart in shared memory
void warp_functions(Arguments);         ///< shuffles of four kinds and a ballot into words[7 * 32]

/// One mma of the fragments in words: 4 registers of A and 2 of B for each lane; choice 1 means f16.
void multiply(Arguments);
/// in holds 4 matrices of 8 rows of 8 16-bit elements; words receives 4 registers for each lane; choice 1 transposes.
void matrices(Arguments);

}  // namespace simt::toys
