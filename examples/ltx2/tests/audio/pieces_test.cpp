// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/pieces.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "audio/audio.hpp"
#include "audio/decoder.hpp"
#include "audio/vocoder.hpp"
#include "plan/known_models.hpp"
#include "tests/support/video_example.hpp"

/// Sound in overlapping pieces against the same sound in one: equal bits, and memory that does not know how long it is.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::random_values;

std::vector<float> decode(const Checkpoint& checkpoint, const std::vector<float>& latent, std::int64_t piece) {
  const AudioVaeConfig& config = *checkpoint.config().audio_vae;
  const ltxmem::Extents<3> extents{
      static_cast<std::int64_t>(latent.size()) / (config.latent_bins() * config.latent_channels), config.latent_bins(),
      config.latent_channels};
  std::vector<float> mel(static_cast<std::size_t>(mel_frames(config, extents[0]) * 128));
  Runtime runtime(case_settings());
  runtime.run("decode", [&](auto& backend, ltxmem::Workspace& workspace) {
    const AudioDecoder<float, std::decay_t<decltype(backend)>> run(config, checkpoint.prefixed("audio_vae."));
    run(backend, {latent.data(), extents}, {mel.data(), {mel_frames(config, extents[0]), 64, 2}}, piece, workspace);
  });
  return mel;
}

std::vector<float> vocode(const Checkpoint& checkpoint, const std::vector<float>& mel, std::int64_t piece) {
  const VocoderConfig& config = *checkpoint.config().vocoder;
  const std::int64_t frames = static_cast<std::int64_t>(mel.size()) / 128;
  std::vector<float> wave(static_cast<std::size_t>(vocoder_samples(config, frames) * 2));
  Runtime runtime(case_settings());
  runtime.run("vocode", [&](auto& backend, ltxmem::Workspace& workspace) {
    const Vocoder<std::decay_t<decltype(backend)>> run(config, checkpoint.prefixed("vocoder."));
    run(backend, {mel.data(), {frames, 64, 2}}, {wave.data(), {vocoder_samples(config, frames), 2}}, piece, workspace);
  });
  return wave;
}

}  // namespace

TEST_CASE("Pieces keep every output once and read the receptive field around it") {
  ltxmem::CpuBackend<> backend;
  for (const std::int64_t inputs : {1, 9, 10, 11, 20, 47}) {
    const std::int64_t outputs = 4 * inputs - 3;
    std::int64_t next = 0;
    for_each_piece(backend, inputs, outputs, 4, 10, {3, 1}, [&](const Piece& piece) {
      CHECK(piece.output_begin == next);
      next += piece.outputs;
      const std::int64_t first = piece.output_begin / 4;
      const std::int64_t end = ltxmem::ceil_div(next, 4);
      CHECK(end - first <= 10);
      CHECK(piece.input_begin == std::max<std::int64_t>(first - 3, 0));
      CHECK(piece.input_begin + piece.inputs == std::min(end + 1, inputs));
      CHECK(piece.dropped == 4 * (first - piece.input_begin));
    });
    CHECK(next == outputs);
  }
}

TEST_CASE("Decoding a spectrogram in pieces gives the bits of decoding it whole") {
  for (const char* name : {"ltx20_tiny", "ltx23_tiny"}) {
    const GoldenCheckpoint checkpoint(name);
    const AudioVaeConfig& config = *(*checkpoint).config().audio_vae;
    const auto latent = random_values<float>(111 * config.latent_bins() * config.latent_channels, 1);
    const std::vector<float> whole = decode(*checkpoint, latent, 111);
    for (const std::int64_t piece : {1, 53, 110}) {
      INFO(name << ", " << piece << " latent frames");
      const bool equal = decode(*checkpoint, latent, piece) == whole;
      CHECK(equal);
    }
  }
}

TEST_CASE("Vocoding in pieces gives the bits of vocoding a spectrogram whole") {
  for (const char* name : {"ltx20_tiny", "ltx23_tiny"}) {
    const GoldenCheckpoint checkpoint(name);
    const auto mel = random_values<float>(150 * 128, 2);
    const std::vector<float> whole = vocode(*checkpoint, mel, 150);
    for (const std::int64_t piece : {1, 149}) {
      INFO(name << ", " << piece << " mel frames");
      const bool equal = vocode(*checkpoint, mel, piece) == whole;
      CHECK(equal);
    }
  }
}

TEST_CASE("The planned memory of sound does not depend on its length") {
  for (const ModelVersion version : {ModelVersion::v2_0, ModelVersion::v2_3}) {
    INFO(static_cast<int>(version));
    const Runtime runtime(case_settings());
    const Models models(known_models(version));
    const Checkpoint& model = models.model();
    const SpaceBytes decoder = plan_decode_audio(runtime, model, 1000).peak;
    CHECK(decoder == plan_decode_audio(runtime, model, 1001).peak);
    CHECK(decoder == plan_decode_audio(runtime, model, 90000).peak);
    CHECK(decoder[0] < (std::size_t{400} << 20));
    const SpaceBytes vocoder = plan_vocode(runtime, model, 4001).peak;
    CHECK(vocoder == plan_vocode(runtime, model, 5000).peak);
    CHECK(vocoder == plan_vocode(runtime, model, 360000).peak);
    CHECK(vocoder[0] < (std::size_t{400} << 20));
  }
}

TEST_CASE("The planned work of sound grows with its length, and pieces add little") {
  const Runtime runtime(case_settings());
  const Models models(known_models(ModelVersion::v2_3));
  const Checkpoint& model = models.model();
  const auto flops = [&](std::int64_t frames) {
    return static_cast<double>(plan_vocode(runtime, model, frames).operations.flops);
  };
  CHECK(flops(32768) < 32 * 1.12 * flops(1024));
  CHECK(flops(32768) > 32 * flops(1024));
}

TEST_CASE("The receptive fields of the released models are those counted layer by layer") {
  // Far inputs hardly change a bit of an output, so equal bits alone do not prove a field.
  const auto check = [](const ReceptiveField& field, std::int64_t before, std::int64_t after) {
    CHECK(field.before == before);
    CHECK(field.after == after);
  };
  const Models v20(known_models(ModelVersion::v2_0));
  const Models v23(known_models(ModelVersion::v2_3));
  const ModelConfig& old_config = v20.model().config();
  const ModelConfig& config = v23.model().config();
  check(Vocoder<PlanBackend>(*old_config.vocoder, v20.model().prefixed("vocoder.")).field(), 18, 18);
  check(Vocoder<PlanBackend>(*config.vocoder, v23.model().prefixed("vocoder.")).field(), 55, 52);
  check(AudioDecoder<float, PlanBackend>(*config.audio_vae, v23.model().prefixed("audio_vae.")).field(), 33, 1);
}
