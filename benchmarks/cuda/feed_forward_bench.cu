// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The feed-forward network of LTX-2 on a CUDA device against its chunks of tokens, beside evaluating it whole
/// (token_chunk 0); and with weights that are sent from the host for every use, beside both halves alone.

#include "cuda/device.cuh"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "ltxmem/weights/weight_stream.hpp"

namespace {

using namespace ltxmem;

using T = bfloat16;
using Network = ChunkedFFN<T, CudaBackend>;

/// Both weights, one behind the other.
Network network_at(const T* weights, const bench::Shape& shape) {
  const TensorView<const T, 2> up(weights, {shape.hidden, shape.width});
  const TensorView<const T, 2> down(weights + up.size(), {shape.width, shape.hidden});
  return Network(DenseLinear(up), DenseLinear(down));
}

double flops(const bench::Shape& shape) {
  return 4.0 * static_cast<double>(shape.tokens) * static_cast<double>(shape.width * shape.hidden);
}

/// Argument: token_chunk.
void chunked(benchmark::State& state, const bench::Shape& shape) {
  auto device = bench::device_for(state);
  if (!device) return;
  const auto weights = device->operand<T>(2 * shape.hidden, shape.width, 1, 0.02F);
  const auto x = device->operand<T>(shape.tokens, shape.width, 3);
  Tensor<T, 2> y(device->resource, x.extents());
  const Network network = network_at(weights.view().data(), shape);
  const ChunkedFfnOptions options{.token_chunk = state.range(0)};
  CountingResource counting(device->resource);
  Arena arena(counting, network.workspace_bytes(device->backend, shape.tokens, options));
  bench::measure(state, *device, flops(shape), counting,
                 [&] { network(device->backend, x.view(), {}, y.view(), arena, options); });
  state.counters["check"] = device->projection(y);
}

/// What is done with the weights of one network after another.
enum class Use { send, compute, both };

/// Eight networks whose weights pass through two slots. The time of both is at best the larger of the others.
void streamed(benchmark::State& state, const bench::Shape& shape, Use use) {
  auto device = bench::device_for(state);
  if (!device) return;
  constexpr std::int64_t networks = 8;
  const std::vector<T> weights = bench::some_values<T>(2 * shape.hidden * shape.width, 1, 0.02F);
  const std::vector<WeightBlock> blocks(static_cast<std::size_t>(networks),
                                        WeightBlock({memory_piece(std::as_bytes(std::span<const T>(weights)))}));
  const auto x = device->operand<T>(shape.tokens, shape.width, 3);
  Tensor<T, 2> y(device->resource, x.extents());
  CountingResource counting(device->resource);
  const Network any = network_at(nullptr, shape);
  Arena arena(counting, any.workspace_bytes(device->backend, shape.tokens, {}));
  const WeightStreamOptions options{};
  const WeightStreamLayout layout(blocks, options);
  PinnedResource pinned;
  Arena device_slots(counting, layout.device_bytes());
  Arena pinned_slots(pinned, layout.pinned_bytes());
  WeightStream<CudaBackend> stream(device->backend, blocks, options, device_slots, pinned_slots);
  const auto* still = reinterpret_cast<const T*>(stream.acquire(0));
  bench::measure(state, *device, use == Use::send ? 0.0 : networks * flops(shape), counting, [&] {
    for (std::int64_t i = 0; i < networks; ++i) {
      const auto* here = use == Use::compute ? still : reinterpret_cast<const T*>(stream.acquire(i));
      if (use != Use::send) network_at(here, shape)(device->backend, x.view(), {}, y.view(), arena, {});
    }
  });
  if (use != Use::compute) {
    const double bytes = static_cast<double>(networks) * static_cast<double>(blocks.front().bytes());
    state.counters["bytes/s"] =
        benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  }
}

void add(const char* name, const bench::Shape& shape, void (*run)(benchmark::State&, const bench::Shape&),
         const std::vector<std::int64_t>& chunks) {
  auto* added = benchmark::RegisterBenchmark((std::string("ffn/cuda/bf16/") + name + shape.name).c_str(),
                                             [shape, run](benchmark::State& state) { run(state, shape); });
  added->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(5);
  for (const std::int64_t chunk : chunks) added->ArgName("token_chunk")->Arg(chunk);
}

const bool registered = [] {
  add("", bench::smoke, &chunked, {0, 32});
  add("", bench::ltx2_video_clip, &chunked, {0, 4096, 2048, 1024, 512, 256});
  for (const bench::Shape& shape : {bench::smoke, bench::ltx2_video_clip, bench::ltx2_video}) {
    add("send/", shape, [](benchmark::State& state, const bench::Shape& of) { streamed(state, of, Use::send); }, {});
    add("compute/", shape, [](benchmark::State& state, const bench::Shape& of) { streamed(state, of, Use::compute); },
        {});
    add("send_and_compute/", shape,
        [](benchmark::State& state, const bench::Shape& of) { streamed(state, of, Use::both); }, {});
  }
  return true;
}();

}  // namespace
