// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/core/device.hpp"

namespace ltxmem {

/// Is told of every buffer that virtual arenas take and give back, in order; a dry run's Record is one.
///
/// Names are kept by pointer. Buffers that no arena holds (tensors of the caller) may be reported directly.
class MemoryObserver {
 public:
  virtual void taken(MemorySpace space, const char* name, std::size_t bytes) = 0;
  virtual void released(MemorySpace space, const char* name, std::size_t bytes) noexcept = 0;

 protected:
  MemoryObserver() = default;
  MemoryObserver(const MemoryObserver&) = default;
  MemoryObserver& operator=(const MemoryObserver&) = default;
  ~MemoryObserver() = default;
};

/// Buffers of one name that are alive together.
struct BufferSum {
  std::string name;
  std::size_t bytes = 0;
  std::int64_t count = 0;
};

/// The most that one memory space holds at any time, with the step and the buffers of that moment, largest first.
struct MemoryPeak {
  MemorySpace space = MemorySpace::device;
  std::size_t bytes = 0;
  std::string step;
  std::vector<BufferSum> buffers;
};

}  // namespace ltxmem
