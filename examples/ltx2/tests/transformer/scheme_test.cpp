// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheme.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Memory schemes are choices of execution: each gives the bits of the plain one, whatever the tiles.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::same_bits;

/// Every scheme at several tiles against the plain one, in both types.
void check_schemes(MadeUpInput& input, const Checkpoint& checkpoint) {
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    const std::vector<float> plain = run(input, checkpoint, dtype, {256, 256, 256, 1}, Scheme::plain);
    CHECK(std::any_of(plain.begin(), plain.end(), [](float value) { return value != 0.0F; }));
    for (const Scheme scheme : schemes) {
      for (const Execution& how : {Execution{256, 256, 256, 1}, Execution{512, 768, 300, 2}, Execution{256, 1024, 1, 2},
                                   Execution{1 << 20, 1 << 20, 1 << 20, 1}}) {
        INFO(scheme_name(scheme) << (dtype == ltxmem::DType::f32 ? " f32" : " bf16") << ", query tile "
                                 << how.query_tile << ", key tile " << how.key_tile << ", chunk " << how.ffn_chunk
                                 << ", " << how.threads << " threads");
        CHECK(same_bits(run(input, checkpoint, dtype, how, scheme), plain));
      }
    }
  }
}

}  // namespace

TEST_CASE("Every scheme has its name and no other", "[scheme]") {
  for (const Scheme scheme : schemes) CHECK(find_scheme(scheme_name(scheme)) == scheme);
  CHECK(scheme_name(Scheme::e3) == "E3");
  CHECK_FALSE(find_scheme("e3"));
  CHECK_FALSE(find_scheme("E5"));
}

TEST_CASE("Every scheme gives the bits of the plain one on a gated model with per-token timesteps", "[scheme]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 5, 15, 17, 301, 300);  // 1275 tokens: four tiles of 256 and a part
  input.video.condition_first(240, 0.1F);
  check_schemes(input, *checkpoint);
}

TEST_CASE("Every scheme gives the bits of the plain one on the 2.0 model", "[scheme]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 13, 23, 31);
  check_schemes(input, *checkpoint);
}

TEST_CASE("Every scheme gives the bits of the plain one with interleaved rotary embedding", "[scheme]") {
  Json json = read_json_file(golden_path("configs/ltx23_tiny.json"));
  json["components"] = Json::array({"transformer"});
  json["config"]["transformer"]["num_layers"] = 1;
  json["config"]["transformer"]["rope_type"] = "interleaved";
  SynthesisedCheckpoint checkpoint(parse_description(json, "interleaved"));
  REQUIRE(checkpoint.config().rope == RopeType::interleaved);
  MadeUpInput input(checkpoint.config(), 3, 10, 19, 31);
  check_schemes(input, *checkpoint);
}

TEST_CASE("Every scheme gives the bits of the plain one under an attention mask", "[scheme]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 1));
  MadeUpInput input(checkpoint.config(), 3, 15, 13, 20);
  std::vector<float> mask = ltxmem::test::random_values<float>(585 * 585, 4);
  input.video.input().attention_mask = {mask.data(), {585, 585}};
  check_schemes(input, *checkpoint);
}

TEST_CASE("Every scheme gives the bits of the plain one when blocks leave attention out", "[scheme]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_fp8", 3));
  MadeUpInput input(checkpoint.config(), 3, 15, 13, 300);
  input.skips = {{.video_self = true}, {.audio_self = true, .audio_to_video = true}, {.video_to_audio = true}};
  check_schemes(input, *checkpoint);
}

TEST_CASE("Every scheme gives the bits of the plain one for a single token", "[scheme]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 1, 1, 1, 1);
  check_schemes(input, *checkpoint);
}

TEST_CASE("Every scheme gives the bits of the plain one when a modality rests or is missing", "[scheme]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 40);
  SECTION("video not updated") {
    input.video.input().enabled = false;
  }
  SECTION("audio not updated") {
    input.audio.input().enabled = false;
  }
  SECTION("video alone") {
    input.without_audio = true;
  }
  SECTION("audio alone") {
    input.without_video = true;
  }
  check_schemes(input, *checkpoint);
}
