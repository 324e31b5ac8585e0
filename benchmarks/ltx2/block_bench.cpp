// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// One block of the LTX-2.3 transformer at its true width, with both modalities, under every memory scheme and several
/// tiles, beside the plain scheme: everything at once.
///
/// The weights are synthesised on first use (1.6 GB in the folder for temporary files). Counters: flop/s, peak_bytes of
/// the device, pinned_bytes (what a scheme keeps in host memory instead).

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <thread>

#include "runtime/runtime.hpp"
#include "shapes.hpp"
#include "tests/support/transformer_example.hpp"

namespace {

using namespace ltx2;

void block(benchmark::State& state, ltxmem::DType dtype, Scheme scheme, std::int64_t tile) {
  static test::SynthesisedCheckpoint checkpoint(read_description(test::golden_path("configs/real23.json")));
  Settings settings;
  settings.dtype = dtype;
  settings.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  settings.scheme = scheme;
  settings.query_tile = settings.key_tile = settings.ffn_chunk = tile;
  Runtime runtime(settings);
  test::MadeUpInput input(checkpoint.config(), ltxmem::bench::ltx2_video.tokens / 256, 16, 16,
                          ltxmem::bench::ltx2_audio.tokens, 256);
  TransformerModel model(runtime, *checkpoint);
  const Runtime::Plan plan = model.plan(input.input(), input.output());
  for ([[maybe_unused]] auto _ : state) model.predict(input.input(), input.output());
  state.counters["flop/s"] =
      benchmark::Counter(static_cast<double>(plan.operations.flops), benchmark::Counter::kIsIterationInvariantRate,
                         benchmark::Counter::kIs1000);
  state.counters["peak_bytes"] = static_cast<double>(plan.peak[0]);
  state.counters["pinned_bytes"] = static_cast<double>(plan.peak[1]);
}

const bool registered = [] {
  const auto add = [](const char* type, ltxmem::DType dtype, Scheme scheme, std::int64_t tile) {
    std::string name = std::string("block/") + type + "/ltx2_video/" + std::string(scheme_name(scheme));
    if (scheme != Scheme::plain) name += "/tile:" + std::to_string(tile);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { block(state, dtype, scheme, tile); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime()
        ->Iterations(1);
  };
  add("bf16", ltxmem::DType::bf16, Scheme::plain, 4096);
  for (const std::int64_t tile : {2048, 1024, 512, 256}) add("bf16", ltxmem::DType::bf16, Scheme::e1, tile);
  for (const Scheme scheme : {Scheme::e2, Scheme::e3, Scheme::e4}) add("bf16", ltxmem::DType::bf16, scheme, 512);
  add("f32", ltxmem::DType::f32, Scheme::plain, 4096);
  add("f32", ltxmem::DType::f32, Scheme::e1, 512);
  return true;
}();

}  // namespace
