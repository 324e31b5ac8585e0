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
  for (const char* name : {"v20_t2v", "v23_i2v", "v23_interleaved", "v23_attention_mask", "v23_fp8"}) {
    check("transformer", name, run_transformer_case);
  }
}

TEST_CASE("All that the transformer can be asked for on a card is as in the reference", "[golden][cuda][long]") {
  for (const char* name : {"v20_i2v", "v20_stg_block2", "v23_t2v", "v23_stg_block1", "v23_batch2", "v23_keyframe",
                           "v23_audio_only", "v23_video_only", "v23_audio_disabled", "v23_no_cross_modal"}) {
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

TEST_CASE("The video decoder on a card gives the reference's pictures", "[golden][cuda]") {
  check("video_decode", "v23_1x3x2", run_video_decode_case);
}

TEST_CASE("The video autoencoders on a card give the reference's pictures and latents", "[golden][cuda][long]") {
  check("video_decode", "v20_1x2x3", run_video_decode_case);
  for (const char* name : {"v20_1x64x96", "v23_1x96x64"}) check("video_encode", name, run_video_encode_case);
}

TEST_CASE("The video decoders on a card give the reference's clips of several latent frames", "[golden][cuda][long]") {
  for (const char* name : {"v23_2x2x3", "v20_3x2x2"}) check("video_decode", name, run_video_decode_case);
}

TEST_CASE("The upsampler on a card gives the reference's latent", "[golden][cuda]") {
  check("upsample", "upscaler_tiny_3x2x3", run_upsample_case);
}

TEST_CASE("The sound models on a card give the reference's spectrograms and sound", "[golden][cuda][long]") {
  for (const char* name : {"v20_5", "v23_4"}) check("audio_decode", name, run_audio_decode_case);
  for (const char* name : {"v20_mel_37", "v23_mel_29"}) check("audio_encode", name, run_audio_encode_case);
  check("vocode", "v20_11", run_vocode_case);
}

TEST_CASE("The vocoder of 2.3 on a card gives the reference's sound", "[golden][cuda][long]") {
  check("vocode", "v23_9", run_vocode_case);
}

TEST_CASE("A clip from a picture on a card is the reference's, from the prompt to pictures and sound",
          "[golden][cuda][long]") {
  check("generate", "v23_i2v", run_generate_case);
}
