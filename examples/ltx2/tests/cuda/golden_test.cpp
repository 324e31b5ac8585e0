// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "tests/cuda/card.hpp"

/// Cases with known answers on a CUDA device, here a test double.

namespace {

using namespace ltx2;
using namespace ltx2::test;

void check(const std::string& stage, const std::string& name, HostTensors (*run)(const Case&, CaseModels&, Runtime&)) {
  check_golden_case(stage, name, run, card_settings());
  expect_clean_card();
}

}  // namespace

TEST_CASE("The transformer on a card gives the reference's velocities", "[golden][cuda]") {
  for (const char* name : {"v20_t2v", "v20_i2v", "v20_stg_block2", "v23_t2v", "v23_i2v", "v23_stg_block1", "v23_batch2",
                           "v23_interleaved", "v23_attention_mask", "v23_keyframe", "v23_audio_only", "v23_video_only",
                           "v23_audio_disabled", "v23_no_cross_modal", "v23_fp8"}) {
    check("transformer", name, run_transformer_case);
  }
}

TEST_CASE("LoRAs act on a card", "[golden][cuda]") {
  for (const char* name : {"v23_lora_1", "v23_lora_0.5"}) check("lora", name, run_transformer_case);
}

TEST_CASE("Sampling on a card ends where the reference does", "[golden][cuda]") {
  check("denoise", "v23_distilled_i2v", run_denoise_case);
}

TEST_CASE("The text models on a card give the reference's contexts", "[golden][cuda]") {
  for (const char* name : {"gemma_short", "20_connect_short", "23_connect_short"}) check("text", name, run_text_case);
}

TEST_CASE("Prompts are encoded on a card as in the reference", "[golden][cuda][long]") {
  for (const char* name : {"20_encode_short", "23_encode_short"}) check("text", name, run_text_case);
}

TEST_CASE("The video autoencoder on a card gives the reference's pictures", "[golden][cuda]") {
  check("video_decode", "v23_1x3x2", run_video_decode_case);
  check("video_encode", "v23_1x96x64", run_video_encode_case);
}

TEST_CASE("The video autoencoder of 2.0 on a card gives the reference's pictures", "[golden][cuda][long]") {
  check("video_decode", "v20_1x2x3", run_video_decode_case);
  check("video_encode", "v20_1x64x96", run_video_encode_case);
}

TEST_CASE("The upsampler on a card gives the reference's latent", "[golden][cuda]") {
  check("upsample", "upscaler_tiny_3x2x3", run_upsample_case);
}

TEST_CASE("The audio autoencoder on a card gives the reference's spectrograms", "[golden][cuda]") {
  check("audio_decode", "v23_4", run_audio_decode_case);
  check("audio_encode", "v23_mel_29", run_audio_encode_case);
}

TEST_CASE("The audio autoencoder of 2.0 on a card gives the reference's spectrograms", "[golden][cuda][long]") {
  check("audio_decode", "v20_5", run_audio_decode_case);
  check("audio_encode", "v20_mel_37", run_audio_encode_case);
}
