// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "simt/executor.hpp"

namespace simt {

/// Memory that stands for an allocation on the device: aligned like cudaMalloc's, known to the checker, and filled with
/// NaNs where it was not given values.
template <class T>
class DeviceBuffer {
 public:
  /// Given values: kernels may read them, and write only when `writable`.
  DeviceBuffer(const char* name, const std::vector<T>& values, bool writable = false) : DeviceBuffer(values.size()) {
    if (!values.empty()) std::memcpy(data(), values.data(), values.size() * sizeof(T));
    track(data(), count_ * sizeof(T), name, writable, true);
  }
  /// Uninitialised: kernels must write before they read.
  DeviceBuffer(const char* name, std::int64_t count) : DeviceBuffer(static_cast<std::size_t>(count)) {
    track(data(), count_ * sizeof(T), name, true, false);
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { untrack(data()); }

  T* data() const { return reinterpret_cast<T*>(memory_.get() + margin); }
  std::vector<T> values() const { return std::vector<T>(data(), data() + count_); }

 private:
  static constexpr std::size_t margin = 4096;  // so that a neighbour is never mistaken for this buffer

  explicit DeviceBuffer(std::size_t count)
      : count_(count),
        memory_(static_cast<char*>(std::aligned_alloc(256, (count * sizeof(T) + 2 * margin + 255) / 256 * 256)),
                &std::free) {
    std::memset(memory_.get(), 0xff, (count * sizeof(T) + 2 * margin + 255) / 256 * 256);
  }

  std::size_t count_;
  std::unique_ptr<char, decltype(&std::free)> memory_;
};

}  // namespace simt
