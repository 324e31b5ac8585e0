// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The 3x3x3 convolutions of the LTX-2 video decoder on a CUDA device, each at the channels of its stage and the
/// positions of a clip of 121 frames at 768 x 512: on the matrix units, and in fp32 arithmetic beside them.

#include "cuda/device.cuh"

namespace {

using namespace ltxmem;

constexpr bench::ConvolutionShape few_positions{"smoke", 2, 5, 6, 16, 24};

template <class T>
void convolve(benchmark::State& state, const bench::ConvolutionShape& shape) {
  auto device = bench::device_for(state);
  if (!device) return;
  const std::int64_t positions = shape.frames * shape.height * shape.width;
  const std::int64_t depth = bench::cube.taps() * shape.channels;
  const auto x = device->operand<T>(positions, shape.channels, 1);
  const auto weight = device->operand<T>(shape.outputs, depth, 2, 0.02F);
  Tensor<T, 2> y(device->resource, {positions, shape.outputs});
  const ConvolutionArguments<T> arguments{.weight = weight.view(), .geometry = bench::cube};
  CountingResource counting(device->resource);
  Arena arena(counting, device->backend.convolution_workspace_bytes<T>(arguments.weight, bench::cube));
  const TensorView<const T, 4> from(x.view().data(), {shape.frames, shape.height, shape.width, shape.channels});
  const TensorView<T, 4> to(y.view().data(), {shape.frames, shape.height, shape.width, shape.outputs});
  bench::measure(state, *device, 2.0 * static_cast<double>(positions * shape.outputs) * static_cast<double>(depth),
                 counting, [&] { device->backend.convolve(from, arguments, to, arena); });
  state.counters["check"] = device->projection(y);
}

template <class T>
void add(const std::string& type, const bench::ConvolutionShape& shape) {
  benchmark::RegisterBenchmark(("convolution/cuda/" + type + "/" + shape.name).c_str(),
                               [shape](benchmark::State& state) { convolve<T>(state, shape); })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime()
      ->Iterations(5);
}

const bool registered = [] {
  add<bfloat16>("bf16", few_positions);
  for (const bench::ConvolutionShape& shape : bench::ltx2_video_decoder) {
    add<bfloat16>("bf16", shape);
    if (shape.channels == 256) {
      add<ltxmem::half>("f16", shape);
      add<float>("f32", shape);
    }
  }
  return true;
}();

}  // namespace
