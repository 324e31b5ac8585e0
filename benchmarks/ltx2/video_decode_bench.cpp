// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The video decoder of LTX-2.3, an eighth as wide, on 33 frames of 512 x 512, streamed and in tiles beside all at
/// once.
///
/// Counters: flop/s, and peak_bytes without the frames, which are handed over as they are made.

#include <cstdint>
#include <string>

#include "models.hpp"
#include "values.hpp"
#include "video_vae/video_vae.hpp"

namespace {

using namespace ltx2;

/// Arguments: latent frames at a time, latent cells of a tile by as many (0: all), threads.
void decode(benchmark::State& state, ltxmem::DType dtype) {
  Settings settings = bench::settings_of(dtype, state.range(2));
  settings.decode_frames = state.range(0);
  settings.decode_tile = state.range(1);
  Runtime runtime(settings);
  const Checkpoint& checkpoint = bench::model("video_vae", dtype);
  const ltxmem::Extents<4> extents{5, 16, 16, checkpoint.config().video_vae->latent_channels};
  const auto latent = ltxmem::bench::some_values<float>(ltxmem::element_count(extents), 1);
  const auto consume = [](ltxmem::TensorView<const float, 4> frames) { benchmark::DoNotOptimize(frames.data()); };
  bench::measure(state, runtime, 0, [&] { decode_video(runtime, checkpoint, {latent.data(), extents}, consume); });
}

const bool registered = [] {
  for (const auto& [type, dtype] : {std::pair{"f32", ltxmem::DType::f32}, std::pair{"bf16", ltxmem::DType::bf16}}) {
    bench::add(std::string("video_decode/") + type, [dtype = dtype](benchmark::State& state) { decode(state, dtype); })
        ->ArgNames({"frames", "tile", "threads"})
        ->Args({1, 0, 1})
        ->Args({1, 0, 2})
        ->Args({1, 8, 2})
        ->Args({5, 0, 2});
  }
  return true;
}();

}  // namespace
