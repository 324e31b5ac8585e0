// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "audio/audio.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/numbers.hpp"
#include "tests/support/golden_case.hpp"

/// How the audio stages run: lengths, bits, precision, memory, refusals.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::random_values;

class AudioModel {
 public:
  explicit AudioModel(const std::string& name) : checkpoint_(golden_models() / (name + ".safetensors"), resource_) {}
  const Checkpoint& operator*() const noexcept { return checkpoint_; }
  const AudioVaeConfig& autoencoder() const { return *checkpoint_.config().audio_vae; }
  const VocoderConfig& vocoder() const { return *checkpoint_.config().vocoder; }

  std::vector<float> decode(Runtime& runtime, const std::vector<float>& latent) const {
    const AudioVaeConfig& c = autoencoder();
    const std::int64_t frames = static_cast<std::int64_t>(latent.size()) / (c.latent_bins() * c.latent_channels);
    std::vector<float> mel(static_cast<std::size_t>(mel_frames(c, frames) * 64 * 2));
    decode_audio(runtime, checkpoint_, {latent.data(), {frames, c.latent_bins(), c.latent_channels}},
                 {mel.data(), {mel_frames(c, frames), 64, 2}});
    return mel;
  }
  std::vector<float> encode(Runtime& runtime, const std::vector<float>& mel) const {
    const AudioVaeConfig& c = autoencoder();
    const std::int64_t frames = static_cast<std::int64_t>(mel.size()) / 128;
    std::vector<float> latent(static_cast<std::size_t>(latent_frames(c, frames) * c.latent_bins() * c.latent_channels));
    encode_audio(runtime, checkpoint_, {mel.data(), {frames, 64, 2}},
                 {latent.data(), {latent_frames(c, frames), c.latent_bins(), c.latent_channels}});
    return latent;
  }
  std::vector<float> vocode(Runtime& runtime, const std::vector<float>& mel) const {
    const std::int64_t frames = static_cast<std::int64_t>(mel.size()) / 128;
    const std::int64_t samples = vocoder_samples(vocoder(), frames);
    std::vector<float> waveform(static_cast<std::size_t>(samples * 2));
    ltx2::vocode(runtime, checkpoint_, {mel.data(), {frames, 64, 2}}, {waveform.data(), {samples, 2}});
    return waveform;
  }

 private:
  ltxmem::HostResource resource_;
  Checkpoint checkpoint_;
};

Settings with(int threads, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings;
  settings.threads = threads;
  settings.dtype = dtype;
  return settings;
}

}  // namespace

TEST_CASE("Five seconds of sound have the lengths of the format description") {
  const AudioModel v20("ltx20_tiny");
  const AudioModel v23("ltx23_tiny");
  CHECK(mel_frames(v20.autoencoder(), 126) == 501);
  CHECK(latent_frames(v20.autoencoder(), 501) == 126);
  CHECK(vocoder_samples(v20.vocoder(), 501) == 120240);
  CHECK(vocoder_samples(v23.vocoder(), 501) == 240480);
}

TEST_CASE("A spectrogram of any length encodes to latents that decode to at least as many frames less three") {
  const AudioVaeConfig config;
  for (std::int64_t frames = 1; frames < 40; ++frames) {
    const std::int64_t latents = latent_frames(config, frames);
    CHECK(mel_frames(config, latents) >= frames - 3);
    CHECK(latent_frames(config, mel_frames(config, latents)) == latents);
  }
}

TEST_CASE("Every audio stage gives the same bits for every thread count, and in f32 whatever the settings say") {
  for (const char* name : {"ltx20_tiny", "ltx23_tiny"}) {
    const AudioModel model(name);
    const auto latent =
        random_values<float>(7 * model.autoencoder().latent_bins() * model.autoencoder().latent_channels, 1);
    Runtime one(with(1));
    const std::vector<float> mel = model.decode(one, latent);
    const std::vector<float> encoded = model.encode(one, mel);
    const std::vector<float> waveform = model.vocode(one, mel);
    for (const Settings& settings : {with(3), with(2, ltxmem::DType::bf16)}) {
      Runtime other(settings);
      CHECK(model.decode(other, latent) == mel);
      CHECK(model.encode(other, mel) == encoded);
      CHECK(model.vocode(other, mel) == waveform);
    }
  }
}

TEST_CASE("Audio decoding is causal: later latents leave earlier frames alone") {
  const AudioModel model("ltx23_tiny");
  Runtime runtime(case_settings());
  auto latent = random_values<float>(6 * 16 * 2, 2);
  const auto before = model.decode(runtime, latent);
  for (std::size_t i = 4 * 16 * 2; i < latent.size(); ++i) latent[i] = -latent[i];
  const auto after = model.decode(runtime, latent);
  const std::ptrdiff_t kept = (4 * 4 - 3) * 128;  // the frames of the first four latents
  CHECK(std::equal(before.begin(), before.begin() + kept, after.begin()));
  CHECK_FALSE(std::equal(before.begin() + kept, before.end(), after.begin() + kept));
}

TEST_CASE("A waveform stays between -1 and 1 whatever the spectrogram") {
  for (const char* name : {"ltx20_tiny", "ltx23_tiny"}) {
    const AudioModel model(name);
    Runtime runtime(case_settings());
    auto mel = random_values<float>(5 * 128, 3);
    for (float& value : mel) value *= 100.0F;
    const auto waveform = model.vocode(runtime, mel);
    CHECK(std::all_of(waveform.begin(), waveform.end(), [](float v) { return v >= -1.0F && v <= 1.0F; }));
  }
}

TEST_CASE("The planned memory of the audio stages is what they take and needs no weights") {
  const AudioModel model("ltx23_tiny");
  const Checkpoint described(read_description(golden_path("configs/ltx23_tiny.json")));
  Runtime runtime(case_settings());
  const auto latent = random_values<float>(9 * 16 * 2, 4);
  const auto mel = model.decode(runtime, latent);
  model.encode(runtime, mel);
  model.vocode(runtime, mel);
  const auto& stages = runtime.report().stages;
  REQUIRE(stages.size() == 3);
  CHECK(stages[0].measured_peak[0] == plan_decode_audio(runtime, described, 9).peak[0]);
  CHECK(stages[1].measured_peak[0] == plan_encode_audio(runtime, described, 33).peak[0]);
  CHECK(stages[2].measured_peak[0] == plan_vocode(runtime, described, 33).peak[0]);
}

TEST_CASE("Audio stages refuse shapes that do not fit, naming both") {
  const AudioModel model("ltx23_tiny");
  Runtime runtime(case_settings());
  std::vector<float> values(4096);
  const ltxmem::TensorView<const float, 3> latent(values.data(), {2, 16, 2});
  CHECK_THROWS_WITH(decode_audio(runtime, *model, latent, {values.data(), {6, 64, 2}}),
                    "audio decode: mel 6 x 64 x 2, expected 5 x 64 x 2");
  CHECK_THROWS_WITH(decode_audio(runtime, *model, {values.data(), {2, 16, 3}}, {values.data(), {5, 64, 2}}),
                    "audio decode: latent 2 x 16 x 3, expected 16 bins of 2 channels");
  CHECK_THROWS_WITH(encode_audio(runtime, *model, {values.data(), {5, 32, 2}}, {values.data(), {2, 16, 2}}),
                    "audio encode: mel 5 x 32 x 2, expected 64 bins of 2 channels");
  CHECK_THROWS_WITH(vocode(runtime, *model, {values.data(), {5, 64, 2}}, {values.data(), {100, 2}}),
                    "vocode: waveform 100 x 2, expected 2400 x 2");
}
