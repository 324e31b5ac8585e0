// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// What tests set and ask of the machine that the test doubles of libcudart, libcublasLt and libnccl pretend to be.

namespace doubles {

struct Settings {
  /// 0: work runs as late as its order allows, and only what is waited for. Otherwise queues take turns at random, now
  /// and then before anybody waits, and so do the threads of kernels.
  std::uint64_t seed = 0;
  int devices = 1;  ///< 0: none, -1: there is no driver
  int capability = 90;
  std::size_t memory_bytes = std::size_t{8} << 30;  ///< of each device
  int failing_allocation = 0;                       ///< the n-th from now on, device or pinned, finds no memory
  int failing_launch = 0;                           ///< the n-th from now on goes wrong on the device
  int failing_device = -1;                          ///< on which alone both count, memory of the host left out; -1: any
  bool devices_apart = false;                       ///< none reaches the memory of another
  bool no_products = false;                         ///< libcublasLt has no algorithm
  bool greedy_products = false;                     ///< its algorithm wants more workspace than was granted
};

/// What LTXMEM_DOUBLE_SEED, _DEVICES, _CAPABILITY, _MEMORY_BYTES, _FAILING_ALLOCATION, _FAILING_LAUNCH,
/// _FAILING_DEVICE, _NO_PRODUCTS and _GREEDY_PRODUCTS in the environment say: those of the first machine.
Settings settings_of_environment();

/// A new machine: no memory, no streams, no errors.
void reset(const Settings& settings);

/// Runs all work that is left and says what has gone wrong since the machine was made: accesses outside of memory, to
/// freed or uninitialised memory, races in kernels, queues that wait for each other, kernels that have no build for the
/// processor. The last one is also the text of the error that calls for that device return from then on.
std::vector<std::string> findings();

/// Allocations, device and pinned, that were not given back.
std::size_t live_allocations();

}  // namespace doubles
