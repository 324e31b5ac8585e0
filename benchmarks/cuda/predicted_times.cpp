// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Prints how long the work of the benchmarks of this folder takes by the profiles of cards, as the tables of
/// docs/cuda.md: CudaBackend's operations are run dry and replayed. Nothing is measured.

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/cuda/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "shapes.hpp"

namespace {

using namespace ltxmem;
using T = bfloat16;
using DryRun = DryRunBackend<CudaTarget>;

const DeviceProfile* const cards[] = {find_device_profile("rtx4090"), find_device_profile("a100"),
                                      find_device_profile("h100")};

template <class Work>
Record recorded(Work&& work) {
  DryRun backend;
  Arena arena = Arena::make_virtual();
  work(backend, arena);
  return std::move(backend.record());
}

/// Bytes of softmax states that an operation reads or writes, of which there are `state`.
std::int64_t state_bytes(const std::string& operation, std::int64_t state) {
  return operation == "attention" ? 2 * state : state;
}

/// The record without the traffic of states: no reset, no load and no store of them.
Record stateless(const Record& record, std::int64_t state) {
  Record rest;
  for (const Record::Entry& entry : record.entries()) {
    const std::string operation = entry.operation;
    if (operation == "attention reset") continue;
    rest.begin_repeated(entry.times);
    rest.add_compute(entry.operation, entry.arithmetic, entry.flops, entry.bytes - state_bytes(operation, state));
    rest.end_repeated();
  }
  return rest;
}

void attention(const bench::Shape& shape, std::int64_t key_tile) {
  const std::int64_t width = shape.heads * shape.head_dim;
  const TensorView<const T, 2> rows(nullptr, {shape.tokens, width});
  const TiledAttention<T, DryRun> tiled({.heads = shape.heads, .key_tile = key_tile});
  const Record record = recorded([&](DryRun& backend, Arena& arena) {
    tiled(backend, rows, rows, rows, TensorView<T, 2>(nullptr, rows.extents()), arena);
  });
  const std::int64_t state =
      shape.tokens * shape.heads * (shape.head_dim + 2) * static_cast<std::int64_t>(sizeof(float));
  std::int64_t moved = 0;
  for (const Record::Entry& entry : record.entries()) moved += entry.times * state_bytes(entry.operation, state);
  std::printf("| %s | %s |", shape.name, key_tile == 0 ? "all" : std::to_string(key_tile).c_str());
  for (const DeviceProfile* card : cards) {
    const double seconds = replay(record, *card).seconds;
    const double alone = static_cast<double>(moved) / card->bytes_per_s(WorkQueue::compute);
    std::printf(" %.2f ms, %.1f %% (%.1f %%) |", 1e3 * seconds,
                100.0 * (1.0 - replay(stateless(record, state), *card).seconds / seconds), 100.0 * alone / seconds);
  }
  std::printf("\n");
}

void line(const char* work, const char* name, const Record& record, std::size_t workspace) {
  std::int64_t flops = 0, bytes = 0;
  for (const Record::Entry& entry : record.entries()) {
    flops += entry.times * entry.flops;
    bytes += entry.times * entry.bytes;
  }
  std::printf("| %s %s | %.2f | %.0f | %.1f |", work, name, 1e-12 * static_cast<double>(flops),
              static_cast<double>(flops) / static_cast<double>(bytes), static_cast<double>(workspace) / (1 << 20));
  for (const DeviceProfile* card : cards) std::printf(" %.2f ms |", 1e3 * replay(record, *card).seconds);
  std::printf("\n");
}

void convolution(const bench::ConvolutionShape& shape) {
  WeightMatrix weight;
  weight.dtype = dtype_of<T>;
  weight.rows = shape.outputs;
  weight.columns = bench::cube.taps() * shape.channels;
  weight.row_stride = weight.columns;
  const ConvolutionArguments<T> arguments{.weight = weight, .geometry = bench::cube};
  const Extents<4> input{shape.frames, shape.height, shape.width, shape.channels};
  const Extents<4> output{shape.frames, shape.height, shape.width, shape.outputs};
  line("convolution", shape.name, recorded([&](DryRun& backend, Arena& arena) {
         backend.convolve(TensorView<const T, 4>(nullptr, input), arguments, TensorView<T, 4>(nullptr, output), arena);
       }),
       CudaTarget().convolution_workspace_bytes<T>(weight, bench::cube));
}

void network(const bench::Shape& shape, std::int64_t chunk) {
  const TensorView<const T, 2> up(nullptr, {shape.hidden, shape.width});
  const TensorView<const T, 2> down(nullptr, {shape.width, shape.hidden});
  const ChunkedFFN<T, DryRun> ffn{DenseLinear(up), DenseLinear(down)};
  const TensorView<T, 2> rows(nullptr, {shape.tokens, shape.width});
  const ChunkedFfnOptions options{.token_chunk = chunk};
  const std::string name = std::string(shape.name) + (chunk == 0 ? "" : " in chunks of " + std::to_string(chunk));
  line("network", name.c_str(), recorded([&](DryRun& backend, Arena& arena) {
         ffn(backend, TensorView<const T, 2>(rows), LinearEpilogue<T>{}, rows, arena, options);
       }),
       ffn.workspace_bytes(DryRun(), shape.tokens, options));
}

void heads(const char* first) {
  std::printf("%s", first);
  for (const DeviceProfile* card : cards) std::printf(" %s |", card->name.c_str());
  std::printf("\n");
}

}  // namespace

int main() {
  heads("| self-attention | keys at a time |");
  std::printf("|---|---|---|---|---|\n");
  for (const bench::Shape& shape : {bench::ltx2_video_clip, bench::ltx2_video_hd, bench::ltx2_video_minutes}) {
    for (const std::int64_t key_tile : {0, 2048, 8192}) {
      if (key_tile < shape.tokens) attention(shape, key_tile);
    }
  }
  std::printf("\n");
  heads("| work | TFLOP | flops per byte | MiB of scratch |");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (const bench::ConvolutionShape& shape : bench::ltx2_video_decoder) convolution(shape);
  for (const std::int64_t chunk : {0, 2048, 512}) network(bench::ltx2_video_clip, chunk);
}
