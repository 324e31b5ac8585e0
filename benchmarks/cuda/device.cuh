// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ltxmem/backend/cuda/backend.cuh"
#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "shapes.hpp"
#include "values.hpp"

/// What the benchmarks on a CUDA device share. Times are those of the host from the first launch until the device is
/// idle. Counters: flop/s, peak_bytes (the workspace, neither operands nor weights), check (see values.hpp).

namespace ltxmem::bench {

/// As few tokens as a double of a device computes in a second.
inline constexpr Shape smoke{"smoke", 70, 128, 256, 2, 64};

/// A device and operands on it. Operands are as in values.hpp, so that results can be compared with the processor's.
class Device {
 public:
  CudaBackend backend;
  CudaResource resource{backend.stream()};

  template <class T>
  Tensor<T, 2> operand(std::int64_t rows, std::int64_t columns, std::uint32_t seed, float size = 1.0F) {
    const std::vector<T> values = some_values<T>(rows * columns, seed, size);
    Tensor<T, 2> operand(resource, {rows, columns});
    backend.copy(TensorView<const T, 2>(values.data(), operand.extents()), operand.view());
    backend.synchronize();
    return operand;
  }

  template <class T>
  std::vector<T> values(const Tensor<T, 2>& result) {
    std::vector<T> values(static_cast<std::size_t>(result.view().size()));
    backend.copy(result.view(), TensorView<T, 2>(values.data(), result.extents()));
    backend.synchronize();
    return values;
  }
  template <class T>
  double projection(const Tensor<T, 2>& result) {
    return bench::projection(values(result));
  }
};

/// The device, or none and a skipped benchmark where there is no usable one.
inline std::optional<Device> device_for(benchmark::State& state) {
  try {
    return std::optional<Device>(std::in_place);
  } catch (const DeviceError& error) {
    state.SkipWithError(error.what());
    return std::nullopt;
  }
}

/// Times work(), which queues so many flops, and states what it took.
template <class Work>
void measure(benchmark::State& state, Device& device, double flops, const CountingResource& workspace, Work&& work) {
  work();  // modules are loaded and algorithms chosen at the first use
  device.backend.synchronize();
  for ([[maybe_unused]] auto _ : state) {
    work();
    device.backend.synchronize();
  }
  state.counters["flop/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  state.counters["peak_bytes"] = static_cast<double>(workspace.peak_bytes());
}

}  // namespace ltxmem::bench
