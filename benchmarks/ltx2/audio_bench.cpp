// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Audio decoder (two seconds) and vocoder (half a second) of LTX-2.3 at their true width, fp32 as always.
///
/// Counters: flop/s, and peak_bytes with what they put out.

#include <cstdint>
#include <vector>

#include "audio/audio.hpp"
#include "models.hpp"
#include "values.hpp"

namespace {

using namespace ltx2;
using ltxmem::bench::some_values;

constexpr std::int64_t decoded_latents = 51;
constexpr std::int64_t vocoded_frames = 49;

/// Argument: threads.
void decode(benchmark::State& state) {
  Runtime runtime(bench::settings_of(ltxmem::DType::f32, state.range(0)));
  const Checkpoint& checkpoint = bench::model("audio", ltxmem::DType::f32);
  const AudioVaeConfig& config = *checkpoint.config().audio_vae;
  const ltxmem::Extents<3> in{decoded_latents, config.latent_bins(), config.latent_channels};
  const ltxmem::Extents<3> out{mel_frames(config, decoded_latents), config.mel_bins, config.out_channels};
  const auto latent = some_values<float>(ltxmem::element_count(in), 1);
  std::vector<float> mel(static_cast<std::size_t>(ltxmem::element_count(out)));
  bench::measure(state, runtime, mel.size() * sizeof(float), [&] {
    decode_audio(runtime, checkpoint, {latent.data(), in}, {mel.data(), out});
  });
}

/// Argument: threads.
void vocode_mel(benchmark::State& state) {
  Runtime runtime(bench::settings_of(ltxmem::DType::f32, state.range(0)));
  const Checkpoint& checkpoint = bench::model("audio", ltxmem::DType::f32);
  const ltxmem::Extents<3> in{vocoded_frames, 64, 2};
  const ltxmem::Extents<2> out{vocoder_samples(*checkpoint.config().vocoder, vocoded_frames), 2};
  const auto mel = some_values<float>(ltxmem::element_count(in), 1);
  std::vector<float> waveform(static_cast<std::size_t>(ltxmem::element_count(out)));
  bench::measure(state, runtime, waveform.size() * sizeof(float), [&] {
    vocode(runtime, checkpoint, {mel.data(), in}, {waveform.data(), out});
  });
}

const bool registered = [] {
  bench::add("audio_decode/f32", decode)->ArgNames({"threads"})->Args({1})->Args({2});
  bench::add("vocode/f32", vocode_mel)->ArgNames({"threads"})->Args({1})->Args({2});
  return true;
}();

}  // namespace
