// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/model_config.hpp"

#include <string>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

using Catch::Matchers::Contains;
using namespace ltx2;
using namespace ltx2::test;

namespace {

ModelConfig parsed(const std::string& name) {
  const Json json = read_json_file(golden_path("configs/" + name + ".json"));
  return parse_model_config(json["config"], json.value("model_version", ""), name);
}

}  // namespace

TEST_CASE("Version texts give their leading numbers", "[config]") {
  CHECK(parse_version_text("") == std::array{2, 0});
  CHECK(parse_version_text("2.3.0") == std::array{2, 3});
  CHECK(parse_version_text("2.3.rc1") == std::array{2, 3});
  CHECK(parse_version_text("2.rc1") == std::array{2, 0});
  CHECK(parse_version_text("next") == std::array{0, 0});
  CHECK(parse_version_text("99999999999.1") == std::array{0, 0});
}

TEST_CASE("A 2.0 configuration has six modulation rows, a caption projection and no gates", "[config]") {
  const ModelConfig config = parsed("ltx20_tiny");
  CHECK(config.version == ModelVersion::v2_0);
  const TransformerConfig& t = *config.transformer;
  CHECK((t.adaln_rows() == 6 && t.caption_projection && !t.gated_attention && !t.text_modulation));
  CHECK((t.width() == 40 && t.audio_width() == 24 && t.caption_channels == 24));
  CHECK((config.video_connector->width() == 24 && config.audio_connector->width() == 24));
  CHECK(*config.text_projection == TextProjection::v1);
  CHECK(config.video_vae->decoder_padding == SpatialPadding::reflect);
  CHECK(config.video_vae->encoder_padding == SpatialPadding::zeros);
  CHECK_FALSE(config.vocoder->bandwidth);
}

TEST_CASE("A 2.3 configuration has nine modulation rows, gates and contexts projected before", "[config]") {
  const ModelConfig config = parsed("ltx23_tiny");
  CHECK(config.version == ModelVersion::v2_3);
  const TransformerConfig& t = *config.transformer;
  CHECK((t.adaln_rows() == 9 && !t.caption_projection && t.gated_attention && t.text_modulation));
  CHECK((config.video_connector->width() == 64 && config.audio_connector->width() == 32));
  CHECK(config.video_connector->max_position == 4096);
  CHECK(*config.text_projection == TextProjection::v2);
  CHECK(config.video_vae->decoder_padding == SpatialPadding::zeros);
  REQUIRE(config.vocoder->bandwidth);
  CHECK((config.vocoder->bandwidth->fft_length == 128 && config.vocoder->out_rate == 48000));
}

TEST_CASE("Missing keys of the transformer take the values of the reference", "[config]") {
  const Json empty = Json::object();
  const TransformerConfig t = parse_transformer_config(Fields(empty, "t"));
  CHECK((t.heads == 32 && t.head_dim == 128 && t.audio_head_dim == 64 && t.layers == 48));
  CHECK((t.rope == RopeType::split && !t.rope_double));
  CHECK((t.timestep_scale == 1000 && t.av_ca_timestep_scale == 1));
  CHECK((t.audio_in_channels == 128 && t.caption_projection && t.norm_eps == 1e-6));
  CHECK(parse_connector_config(Fields(empty, "t"), "audio_").max_position == 1);
}

TEST_CASE("The decoder's blocks are listed last first and widen from the base", "[config]") {
  const VideoVaeConfig vae = *parsed("ltx23_tiny").video_vae;
  CHECK((vae.temporal_factor() == 8 && vae.spatial_factor() == 32));
  REQUIRE(vae.decoder_blocks.size() == 9);
  CHECK(vae.decoder_in() == 4 * 2 * 2 * 1 * 2);
  CHECK(vae.decoder_out() == 4);
  CHECK((vae.decoder_blocks[1].kind == VaeBlock::Kind::resample && vae.decoder_blocks[1].volume() == 8));
  CHECK((vae.decoder_blocks[5].time == 2 && vae.decoder_blocks[5].space == 1));
  CHECK((vae.decoder_blocks[7].time == 1 && vae.decoder_blocks[7].space == 2 && !vae.decoder_blocks[7].skip));
  CHECK(parsed("ltx20_tiny").video_vae->decoder_blocks[1].skip);
}

TEST_CASE("A rational upsampler by one and a half shuffles by three and blurs by two", "[config]") {
  const Json json = Json::parse(R"({"mid_channels": 64, "spatial_scale": 1.5, "rational_resampler": true})");
  const UpsamplerConfig config = parse_upsampler_config(Fields(json, "u"));
  CHECK((config.numerator == 3 && config.denominator == 2 && config.in_channels == 128));
  const Json plain = Json::parse(R"({"mid_channels": 64, "spatial_scale": 1.5})");
  CHECK_THAT(message_of<ltxmem::IoError>([&] { parse_upsampler_config(Fields(plain, "u")); }),
             Contains("u.spatial_scale"));
}

TEST_CASE("Gemma's missing keys are those of the 12B model", "[config]") {
  const Json json = Json::parse(R"({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}})");
  const GemmaConfig gemma = parse_gemma_config(Fields(json, "g"));
  CHECK((gemma.hidden_size == 3840 && gemma.layers == 48 && gemma.query_width() == 4096 && gemma.kv_width() == 2048));
  CHECK((gemma.full_attention[5] && gemma.full_attention[47] && !gemma.full_attention[6]));
}

TEST_CASE("Layer types of Gemma may be listed", "[config]") {
  const Json json = Json::parse(R"({"num_hidden_layers": 2, "layer_types": ["full_attention", "sliding_attention"]})");
  CHECK(parse_gemma_config(Fields(json, "g")).full_attention == std::vector<bool>{true, false});
}

TEST_CASE("Other text models and Gemma variants are refused by the key", "[config]") {
  const auto refusal = [](const char* text) {
    const Json json = Json::parse(text);
    return message_of<ltxmem::IoError>([&] { parse_gemma_config(Fields(json, "g")); });
  };
  CHECK_THAT(refusal(R"({"model_type": "gemma4"})"), Contains("gemma4") && Contains("LTX-2.5"));
  CHECK_THAT(refusal(R"({"num_attention_heads": 4, "num_key_value_heads": 3})"), Contains("num_key_value_heads"));
  CHECK_THAT(refusal(R"({"attn_logit_softcapping": 50})"), Contains("attn_logit_softcapping"));
  CHECK_THAT(refusal(R"({"rope_scaling": {"rope_type": "yarn"}})"), Contains("rope_type"));
  CHECK_THAT(refusal(R"({"layer_types": []})"), Contains("layer_types"));
  CHECK_THAT(refusal(R"({"head_dim": 7})"), Contains("head_dim"));
}
