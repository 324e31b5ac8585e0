// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// One block of the LTX-2.3 transformer at its true width, with both modalities, under every memory scheme and several
/// tiles, beside the plain scheme: everything at once.
///
/// The weights are made on first use (1.6 GB in bf16 in the folder for temporary files). Counters: flop/s, peak_bytes
/// of the device, pinned_bytes (what a scheme keeps in host memory instead).

#include <cstdint>
#include <string>
#include <vector>

#include "models.hpp"
#include "shapes.hpp"
#include "tests/support/transformer_example.hpp"

namespace {

using namespace ltx2;

/// Arguments: tokens of the video, tokens per tile (0: the defaults of the program), threads.
void block(benchmark::State& state, ltxmem::DType dtype, Scheme scheme) {
  Settings settings = bench::settings_of(dtype, state.range(2));
  settings.scheme = scheme;
  if (const std::int64_t tile = state.range(1); tile > 0) {
    settings.query_tile = settings.key_tile = settings.ffn_chunk = tile;
  }
  Runtime runtime(settings);
  const Checkpoint& checkpoint = bench::model("real23", dtype);
  test::MadeUpInput input(*checkpoint.config().transformer, state.range(0) / 256, 16, 16,
                          ltxmem::bench::ltx2_audio.tokens, 1024);
  TransformerModel model(runtime, checkpoint);
  bench::measure(state, runtime, 0, [&] { model.predict(input.input(), input.output()); });
}

const bool registered = [] {
  const auto add = [](const char* type, ltxmem::DType dtype, Scheme scheme,
                      const std::vector<std::vector<std::int64_t>>& arguments) {
    auto* added = bench::add(std::string("block/") + type + "/" + std::string(scheme_name(scheme)),
                             [=](benchmark::State& state) { block(state, dtype, scheme); });
    added->ArgNames({"tokens", "tile", "threads"});
    for (const std::vector<std::int64_t>& values : arguments) added->Args(values);
  };
  const auto bf16 = ltxmem::DType::bf16;
  add("bf16", bf16, Scheme::plain, {{2048, 0, 2}});
  std::vector<std::vector<std::int64_t>> tiles;
  for (const std::int64_t threads : {1, 2}) {
    for (const std::int64_t tokens : {1024, 2048, 4096}) tiles.push_back({tokens, 1024, threads});
  }
  for (const std::int64_t tile : {2048, 512, 256}) tiles.push_back({2048, tile, 2});
  add("bf16", bf16, Scheme::e1, tiles);
  add("bf16", bf16, Scheme::e2, {{2048, 512, 2}});
  add("bf16", bf16, Scheme::e3, {{2048, 1024, 1}, {2048, 1024, 2}, {2048, 512, 2}});
  add("bf16", bf16, Scheme::e4, {{2048, 512, 2}});
  add("f32", ltxmem::DType::f32, Scheme::plain, {{2048, 0, 2}});
  add("f32", ltxmem::DType::f32, Scheme::e1, {{1024, 1024, 1}, {1024, 1024, 2}, {2048, 1024, 1}, {2048, 1024, 2}});
  return true;
}();

}  // namespace
