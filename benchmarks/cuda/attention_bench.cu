// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Attention at the widths of LTX-2 on a CUDA device against transport tiles of keys, beside all keys at once
/// (key_tile 0): what the carried state costs.

#include "cuda/device.cuh"
#include "ltxmem/attention/tiled_attention.hpp"

namespace {

using namespace ltxmem;

/// Argument: key_tile.
template <class T>
void attention(benchmark::State& state, const bench::Shape& queries, const bench::Shape& keys) {
  auto device = bench::device_for(state);
  if (!device) return;
  const std::int64_t head_dim = std::min(queries.head_dim, keys.head_dim);
  const std::int64_t width = queries.heads * head_dim;
  const auto q = device->operand<T>(queries.tokens, width, 1);
  const auto k = device->operand<T>(keys.tokens, width, 2);
  const auto v = device->operand<T>(keys.tokens, width, 3);
  Tensor<T, 2> out(device->resource, q.extents());
  const TiledAttentionOptions options{.heads = queries.heads, .key_tile = state.range(0)};
  const TiledAttention<T, CudaBackend> tiled(options);
  CountingResource counting(device->resource);
  Arena arena(counting, TiledAttention<T, CudaBackend>::workspace_bytes(
                            device->backend, {queries.tokens, keys.tokens, head_dim}, options));
  bench::measure(state, *device, 4.0 * static_cast<double>(queries.tokens) * static_cast<double>(keys.tokens * width),
                 counting, [&] { tiled(device->backend, q.view(), k.view(), v.view(), out.view(), arena); });
  state.counters["check"] = device->projection(out);
}

template <class T>
void add(const std::string& type, const bench::Shape& queries, const bench::Shape& keys,
         const std::vector<std::int64_t>& key_tiles) {
  auto* added =
      benchmark::RegisterBenchmark(("attention/cuda/" + type + "/" + queries.name + "_on_" + keys.name).c_str(),
                                   [queries, keys](benchmark::State& state) { attention<T>(state, queries, keys); });
  added->ArgNames({"key_tile"})->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(5);
  for (const std::int64_t key_tile : key_tiles) added->Args({key_tile});
}

const bool registered = [] {
  add<bfloat16>("bf16", bench::smoke, bench::smoke, {0, 64});
  add<bfloat16>("bf16", bench::ltx2_video_clip, bench::ltx2_video_clip, {0, 1024, 2048, 4096});
  add<bfloat16>("bf16", bench::heads_of_64, bench::heads_of_64, {0, 2048});
  add<bfloat16>("bf16", bench::ltx2_video_clip, bench::ltx2_audio, {0});
  add<bfloat16>("bf16", bench::ltx2_audio, bench::ltx2_video_clip, {0});
  add<ltxmem::half>("f16", bench::ltx2_video_clip, bench::ltx2_video_clip, {0});
  add<float>("f32", bench::ltx2_video, bench::ltx2_video, {0});
  return true;
}();

}  // namespace
