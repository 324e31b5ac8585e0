// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Attention of cuDNN at the shapes of attention_bench.cu, in turns with ours: all keys at once, no mask.
///
/// Times and flop/s are cuDNN's. Counters: ours/cudnn (our time over its, both of this run), difference (the largest
/// one between the results, relative to the largest value; more than rounding explains is an error), peak_bytes (its
/// workspace). Where the library refuses the graph, a line without times says why.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <optional>

#include "cuda/cudnn_attention.hpp"
#include "cuda/device.cuh"
#include "ltxmem/attention/tiled_attention.hpp"

namespace {

using namespace ltxmem;

template <class T>
double largest_difference(bench::Device& device, const Tensor<T, 2>& ours, const Tensor<T, 2>& theirs) {
  const std::vector<T> a = device.values(ours);
  const std::vector<T> b = device.values(theirs);
  double difference = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double apart = std::abs(static_cast<double>(static_cast<float>(a[i])) - static_cast<float>(b[i]));
    if (std::isnan(apart)) return apart;
    difference = std::max(difference, apart);
    largest = std::max(largest, std::abs(static_cast<double>(static_cast<float>(a[i]))));
  }
  return difference / largest;
}

/// No error, which would be ours: a line without times that says why.
void skip(benchmark::State& state, const std::string& reason) {
  state.SetLabel("skipped: " + reason);
  for ([[maybe_unused]] auto _ : state) state.SetIterationTime(0.0);
}

template <class T>
void compare(benchmark::State& state, bench::Device& device, const bench::Shape& queries, const bench::Shape& keys) {
  const std::int64_t head_dim = std::min(queries.head_dim, keys.head_dim);
  const std::int64_t width = queries.heads * head_dim;
  const auto q = device.operand<T>(queries.tokens, width, 1);
  const auto k = device.operand<T>(keys.tokens, width, 2);
  const auto v = device.operand<T>(keys.tokens, width, 3);
  Tensor<T, 2> ours(device.resource, q.extents());
  Tensor<T, 2> theirs(device.resource, q.extents());
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const TiledAttentionOptions options{.heads = queries.heads, .scale = scale};
  const TiledAttention<T, CudaBackend> tiled(options);
  Arena arena(device.resource, TiledAttention<T, CudaBackend>::workspace_bytes(
                                   device.backend, {queries.tokens, keys.tokens, head_dim}, options));
  std::optional<bench::CudnnAttention> attention;
  std::optional<Tensor<std::byte, 1>> workspace;
  // Seconds until the device is idle again.
  const auto timed = [&](auto&& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    device.backend.synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const auto run_ours = [&] { tiled(device.backend, q.view(), k.view(), v.view(), ours.view(), arena); };
  const auto run_theirs = [&] {
    (*attention)(q.view().data(), k.view().data(), v.view().data(), theirs.view().data(), workspace->view().data());
  };
  try {
    attention.emplace(static_cast<cudaStream_t>(device.backend.stream().native), dtype_of<T>, queries.tokens,
                      keys.tokens, queries.heads, head_dim, scale);
    const auto bytes = static_cast<std::int64_t>(std::max<std::size_t>(attention->workspace_bytes(), 1));
    workspace.emplace(device.resource, Extents<1>{bytes});
    timed(run_theirs);  // modules are loaded at the first use
  } catch (const std::exception& refusal) {
    skip(state, refusal.what());
    return;
  }
  timed(run_ours);
  const double difference = largest_difference(device, ours, theirs);
  // Each rounds weights and results to T: two units in the last place apart at most, and as much again for the sums.
  const double tolerated = std::is_same_v<T, bfloat16> ? 0x1p-6 : 0x1p-9;
  if (!(difference <= tolerated)) {
    state.SkipWithError(
        ("results differ by " + std::to_string(difference) + ", at most " + std::to_string(tolerated)).c_str());
    return;
  }
  double our_time = 0.0, their_time = 0.0;
  for ([[maybe_unused]] auto _ : state) {
    const double theirs_now = timed(run_theirs);
    our_time += timed(run_ours);
    their_time += theirs_now;
    state.SetIterationTime(theirs_now);
  }
  state.counters["flop/s"] =
      benchmark::Counter(4.0 * static_cast<double>(queries.tokens) * static_cast<double>(keys.tokens * width),
                         benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  state.counters["ours/cudnn"] = our_time / their_time;
  state.counters["difference"] = difference;
  state.counters["peak_bytes"] = static_cast<double>(attention->workspace_bytes());
}

template <class T>
void add(const std::string& type, const bench::Shape& queries, const bench::Shape& keys) {
  benchmark::RegisterBenchmark(("attention/cudnn/" + type + "/" + queries.name + "_on_" + keys.name).c_str(),
                               [queries, keys](benchmark::State& state) {
                                 auto device = bench::device_for(state);
                                 if (!device) return;
                                 try {
                                   compare<T>(state, *device, queries, keys);
                                 } catch (const std::exception& error) {
                                   state.SkipWithError(error.what());
                                 }
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime()
      ->Iterations(5);
}

const bool registered = [] {
  add<bfloat16>("bf16", bench::ltx2_video_clip, bench::ltx2_video_clip);
  add<bfloat16>("bf16", bench::heads_of_64, bench::heads_of_64);
  add<bfloat16>("bf16", bench::ltx2_video_clip, bench::ltx2_audio);
  add<bfloat16>("bf16", bench::ltx2_audio, bench::ltx2_video_clip);
  add<ltxmem::half>("f16", bench::ltx2_video_clip, bench::ltx2_video_clip);
  return true;
}();

}  // namespace
