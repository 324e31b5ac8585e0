// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "checkpoint/model_report.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "tests/support/model_image.hpp"

using Catch::Matchers::Contains;
using ltxmem::DType;
using namespace ltx2;
using namespace ltx2::test;

/// Models damaged on purpose: each must be refused with a message that names the file and the cause.

namespace {

/// The part of a model that a round of damage works on, and where its tensors come from.
struct Base {
  const char* config;
  const char* component;
};

constexpr Base bases[] = {{"ltx20_tiny", "transformer"}, {"ltx23_tiny", "transformer"}, {"ltx23_tiny", "connectors"},
                          {"ltx23_tiny", "text"},        {"ltx20_tiny", "vae"},         {"ltx23_tiny", "audio_vae"},
                          {"ltx20_tiny", "vocoder"},     {"ltx23_tiny", "vocoder"}};

std::string refusal(const std::string& content) {
  const ScratchFolder folder;
  const std::string path = folder / "damaged.safetensors";
  write_text(path, content);
  ltxmem::HostResource host;
  const std::string message = message_of<ltxmem::IoError>([&] { validate_model(path, host); });
  CHECK_THAT(message, Contains(path));
  return message;
}

std::string refusal(const ModelImage& image) {
  return refusal(image.bytes());
}

/// Some names spread over a file, the first and the last among them.
std::vector<std::string> sample(const ModelImage& image, std::size_t count) {
  std::vector<std::string> names;
  const std::size_t last = image.tensors.size() - 1;
  for (std::size_t i = 0; i < count; ++i) names.push_back(image.tensors[i * last / (count - 1)].spec.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

/// Another shape of the same number of elements.
std::vector<std::int64_t> other_shape(std::vector<std::int64_t> shape) {
  if (shape.size() > 1 && shape[0] != shape[1]) {
    std::swap(shape[0], shape[1]);
  } else {
    shape.insert(shape.begin(), 1);
  }
  return shape;
}

/// A type of the same size that has no arithmetic.
DType integer_of(DType dtype) {
  return dtype == DType::f32 ? DType::i32 : dtype == DType::bf16 ? DType::i16 : DType::u8;
}

/// Damages a file in every way that concerns one tensor. Returns the number of damaged files.
int damage_tensors(const ModelImage& good, std::size_t count) {
  int damaged = 0;
  for (const std::string& name : sample(good, count)) {
    INFO(name);
    ModelImage image = good;
    image.drop(name);
    CHECK_THAT(refusal(image), Contains("'" + name + "'") && Contains("missing"));

    image = good;
    image.at(name).spec.name += "x";
    CHECK_THAT(refusal(image), Contains("'" + name + "'") && Contains("missing"));

    image = good;
    image.at(name).spec.shape = other_shape(image.at(name).spec.shape);
    CHECK_THAT(refusal(image), Contains("'" + name + "'") && Contains("shape ["));

    image = good;
    image.at(name).spec.dtype = integer_of(image.at(name).spec.dtype);
    CHECK_THAT(refusal(image), Contains("'" + name + "'") && Contains("type "));

    const std::string header = "\"" + name + "\": ";
    std::string bytes = good.bytes();
    const std::size_t at = bytes.find(header);
    const std::size_t length = bytes.find('}', at) + 1 - at;
    bytes.insert(at, bytes.substr(at, length) + ", ");  // there twice
    const std::uint64_t size = static_cast<unsigned char>(bytes[0]) + 256U * static_cast<unsigned char>(bytes[1]) +
                               65536U * static_cast<unsigned char>(bytes[2]) + length + 2;
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>((size >> (8 * i)) & 0xffU);
    CHECK_THAT(refusal(bytes), Contains("duplicate key '" + name + "'"));
    damaged += 5;
  }
  return damaged;
}

}  // namespace

TEST_CASE("Checkpoints with a tensor missing, renamed, reshaped, retyped or doubled are refused by its name",
          "[malformed]") {
  int damaged = 0;
  for (const Base& base : bases) {
    INFO(base.config << " " << base.component);
    const ModelImage good = ModelImage::synthesised(small_description(base.config, Json::array({base.component})));
    damaged += damage_tensors(good, 7);
  }
  CHECK(damaged > 200);
}

TEST_CASE("Upsamplers and text models with one bad tensor are refused by its name", "[malformed]") {
  for (const char* name : {"upscaler_tiny", "gemma_tiny"}) {
    INFO(name);
    ModelImage good = ModelImage::synthesised(read_description(golden_path("configs/" + std::string(name) + ".json")));
    if (good.metadata.empty()) {  // a text model alone: then its config.json is assumed, so the tiny one does not fit
      CHECK_THAT(refusal(good), Contains("embed_tokens.weight") && Contains("[262208, 3840]"));
    } else {
      CHECK(damage_tensors(good, 5) > 20);
    }
  }
}

TEST_CASE("A file that is cut at any place is refused", "[malformed]") {
  const std::string good =
      ModelImage::synthesised(small_description("ltx20_tiny", Json::array({"transformer"}))).bytes();
  for (std::size_t i = 0; i < 40; ++i) {
    INFO(i);
    refusal(good.substr(0, i * (good.size() - 1) / 39));
  }
  CHECK_THAT(refusal(good + "x"), Contains("of data"));
}

TEST_CASE("fp8 weights with a scale that is missing or senseless are refused", "[malformed]") {
  const ModelImage good = [] {
    Json json = read_json_file(golden_path("configs/ltx23_fp8.json"));
    json["config"]["transformer"]["num_layers"] = 1;
    return ModelImage::synthesised(parse_description(json, "fp8"));
  }();
  const std::string scale = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight_scale";
  ModelImage image = good;
  image.drop(scale);
  CHECK_THAT(refusal(image), Contains(scale) && Contains("missing"));
  image = good;
  image.at(scale).data = std::string("\0\0\xc0\x7f", 4);  // not a number
  CHECK_THAT(refusal(image), Contains(scale) && Contains("finite"));
  image = good;
  image.at(scale).data = std::string(4, '\0');
  CHECK_THAT(refusal(image), Contains(scale) && Contains("above zero"));
  image = good;
  image.at(scale).spec.dtype = DType::i32;
  CHECK_THAT(refusal(image), Contains(scale) && Contains("one F32 value"));
  image = good;
  image.at(scale).spec.shape = {2};
  image.at(scale).data.append(4, '\0');
  CHECK_THAT(refusal(image), Contains(scale) && Contains("[2]"));
}

TEST_CASE("LoRA files with half a pair, other keys or ranks that differ are refused", "[malformed]") {
  const ModelImage good = ModelImage::synthesised(read_description(golden_path("configs/lora_tiny.json")));
  const std::string a = "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight";
  const std::string b = "diffusion_model.transformer_blocks.0.attn1.to_q.lora_B.weight";
  for (const std::string& name : {a, b}) {
    ModelImage image = good;
    image.drop(name);
    CHECK_THAT(refusal(image), Contains(name) && Contains("missing"));
    image = good;
    image.at(name).spec.name = "other" + name;
    CHECK_THAT(refusal(image), Contains("other" + name) && Contains("not a LoRA key"));
    image = good;
    image.at(name).spec.dtype = DType::i32;
    CHECK_THAT(refusal(image), Contains(name) && Contains("I32"));
    image = good;
    image.at(name).spec.shape = {256};
    CHECK_THAT(refusal(image), Contains(name) && Contains("two dimensions"));
    image = good;
    std::swap(image.at(name).spec.shape[0], image.at(name).spec.shape[1]);
    CHECK_THAT(refusal(image), Contains(b) && Contains("rank"));
  }
}

TEST_CASE("Tensors of a part without its section of the configuration are refused", "[malformed]") {
  for (const auto& [component, section] :
       {std::pair{"transformer", "transformer"}, std::pair{"connectors", "transformer"},
        std::pair{"text", "transformer"}, std::pair{"vae", "vae"}, std::pair{"audio_vae", "audio_vae"},
        std::pair{"vocoder", "vocoder"}}) {
    ModelImage image = ModelImage::synthesised(small_description("ltx23_tiny", Json::array({component})));
    for (auto& [key, value] : image.metadata) {
      if (key != "config") continue;
      Json config = parse_json_text(value, "test");
      config.erase(section);
      value = config.dump();
    }
    CHECK_THAT(refusal(image), Contains("no section for them"));
    std::erase_if(image.metadata, [](const auto& item) { return item.first == "config"; });
    CHECK_THAT(refusal(image), Contains("no metadata entry 'config'"));
  }
}

TEST_CASE("LTX-2.5 is refused by its name, whatever shows it", "[malformed]") {
  const ModelImage good = ModelImage::synthesised(small_description("ltx23_tiny", Json::array({"text"})));
  ModelImage image = good;
  image.metadata.emplace_back("gemma_source_checkpoint", "{}");
  CHECK_THAT(refusal(image), Contains("LTX-2.5") && Contains("gemma_source_checkpoint"));
  image = good;
  for (auto& [key, value] : image.metadata) {
    if (key == "model_version") value = "2.5.1";
  }
  CHECK_THAT(refusal(image), Contains("LTX-2.5") && Contains("2.5.1"));
  image = good;
  image.tensors.front().spec.name = "model.diffusion_model.keyframes_abs_pos_embedding";
  CHECK_THAT(refusal(image), Contains("LTX-2.5") && Contains("keyframes_abs_pos_embedding"));
}

TEST_CASE("A file without any part of a model is refused", "[malformed]") {
  ModelImage image = ModelImage::synthesised(small_description("ltx23_tiny", Json::array({"text"})));
  image.tensors.clear();
  CHECK_THAT(refusal(image), Contains("no tensor of any known part"));
}

TEST_CASE("Connectors that do not fit the transformer are refused", "[malformed]") {
  Json json = read_json_file(golden_path("configs/ltx23_tiny.json"));
  json["components"] = Json::array({"transformer", "connectors"});
  json["config"]["transformer"]["connector_num_attention_heads"] = 2;
  CHECK_THAT(refusal(ModelImage::synthesised(parse_description(json, "test"))),
             Contains("the video connector is 32 wide") && Contains("64"));
}

TEST_CASE("Configurations that are damaged or not supported are refused by the key", "[malformed]") {
  struct Edit {
    const char* path;   // JSON pointer into the configuration
    const char* value;  // JSON, or null for no value
    const char* named;  // what the message must contain
  };
  static constexpr Edit edits[] = {
      {"/transformer/num_attention_heads", "0", "num_attention_heads"},
      {"/transformer/num_attention_heads", "-4", "num_attention_heads"},
      {"/transformer/num_attention_heads", "4.5", "num_attention_heads"},
      {"/transformer/num_attention_heads", "\"4\"", "num_attention_heads"},
      {"/transformer/num_attention_heads", "99999999999999999999", "num_attention_heads"},
      {"/transformer/attention_head_dim", "15", "even"},
      {"/transformer/attention_head_dim", "1000000000", "attention_head_dim"},
      {"/transformer/audio_num_attention_heads", "2", "audio_num_attention_heads"},
      {"/transformer/num_layers", "0", "num_layers"},
      {"/transformer/num_layers", "100000000", "num_layers"},
      {"/transformer/num_layers", "2", "transformer_blocks.1."},
      {"/transformer/in_channels", "[6]", "in_channels"},
      {"/transformer/in_channels", "7", "patchify_proj"},
      {"/transformer/cross_attention_dim", "true", "cross_attention_dim"},
      {"/transformer/rope_type", "\"spiral\"", "rope_type"},
      {"/transformer/rope_type", "3", "rope_type"},
      {"/transformer/positional_embedding_theta", "-1", "positional_embedding_theta"},
      {"/transformer/positional_embedding_theta", "\"10000\"", "positional_embedding_theta"},
      {"/transformer/positional_embedding_max_pos", "[20, 2048]", "positional_embedding_max_pos"},
      {"/transformer/positional_embedding_max_pos", "[20, 2048, 0]", "positional_embedding_max_pos"},
      {"/transformer/audio_positional_embedding_max_pos", "[]", "audio_positional_embedding_max_pos"},
      {"/transformer/norm_eps", "0", "norm_eps"},
      {"/transformer/timestep_scale_multiplier", "[]", "timestep_scale_multiplier"},
      {"/transformer/apply_gated_attention", "1", "apply_gated_attention"},
      {"/transformer/apply_gated_attention", "\"yes\"", "apply_gated_attention"},
      {"/transformer/caption_proj_before_connector", "false", "caption_proj_before_connector"},
      {"/transformer/caption_proj_input_norm", "true", "caption_proj_input_norm"},
      {"/transformer/caption_proj_input_norm", "null", "caption_proj_input_norm"},
      {"/transformer/activation_fn", "\"relu\"", "activation_fn"},
      {"/transformer/qk_norm", "\"layer_norm\"", "qk_norm"},
      {"/transformer/attention_bias", "false", "attention_bias"},
      {"/transformer/norm_elementwise_affine", "true", "norm_elementwise_affine"},
      {"/transformer/positional_embedding_type", "\"sinusoidal\"", "positional_embedding_type"},
      {"/transformer/use_middle_indices_grid", "false", "use_middle_indices_grid"},
      {"/transformer/connector_norm_output", "false", "connector_norm_output"},
      {"/transformer/connector_attention_head_dim", "7", "connector_attention_head_dim"},
      {"/transformer/connector_num_learnable_registers", "0", "connector_num_learnable_registers"},
      {"/transformer/ff_bias", "false", "LTX-2.5"},
      {"/transformer/use_keyframes_abs_pos_embedding", "true", "LTX-2.5"},
      {"/transformer/use_prompt_adaln_single", "false", "LTX-2.5"},
      {"/transformer", "[]", "config.transformer"},
      {"/transformer", "\"text\"", "config.transformer"},
      {"/vae/latent_channels", "0", "latent_channels"},
      {"/vae/patch_size", "-1", "patch_size"},
      {"/vae/timestep_conditioning", "true", "timestep_conditioning"},
      {"/vae/timestep_conditioning", "null", "timestep_conditioning"},
      {"/vae/norm_layer", "\"group_norm\"", "norm_layer"},
      {"/vae/dims", "2", "dims"},
      {"/vae/spatial_padding_mode", "\"circular\"", "spatial_padding_mode"},
      {"/vae/encoder_blocks", "[]", "encoder_blocks"},
      {"/vae/encoder_blocks", "null", "encoder_blocks"},
      {"/vae/encoder_blocks/0", "\"res_x\"", "encoder_blocks[0]"},
      {"/vae/encoder_blocks/0/0", "\"attn_res_x\"", "attn_res_x"},
      {"/vae/encoder_blocks/0/1/num_layers", "0", "num_layers"},
      {"/vae/encoder_blocks/1/1/multiplier", "3", "encoder_blocks[1]"},
      {"/vae/decoder_blocks/1/0", "\"compress_nothing\"", "compress_nothing"},
      {"/vae/decoder_blocks/1/0", "\"compress_time\"", "different factors"},
      {"/vae/decoder_blocks/1/1/residual", "true", "residual"},
      {"/vae/decoder_base_channels", "1000000", "decoder_base_channels"},
      {"/audio_vae/model", "null", "config.audio_vae.model"},
      {"/audio_vae/model/params/ddconfig/ch", "31", "ddconfig.ch"},
      {"/audio_vae/model/params/ddconfig/ch_mult", "[]", "ch_mult"},
      {"/audio_vae/model/params/ddconfig/mel_bins", "80", "mel_bins"},
      {"/audio_vae/model/params/ddconfig/norm_type", "\"group\"", "norm_type"},
      {"/audio_vae/model/params/ddconfig/attn_resolutions", "[16]", "attn_resolutions"},
      {"/audio_vae/preprocessing/stft/hop_length", "0", "hop_length"},
      {"/vocoder/vocoder/resblock", "\"2\"", "resblock"},
      {"/vocoder/vocoder/activation", "\"snake\"", "activation"},
      {"/vocoder/vocoder/upsample_rates", "[5, 2]", "upsample_kernel_sizes"},
      {"/vocoder/vocoder/upsample_initial_channel", "65", "upsample_initial_channel"},
      {"/vocoder/vocoder/resblock_kernel_sizes", "[3, 7, 10]", "resblock_kernel_sizes"},
      {"/vocoder/vocoder/resblock_dilation_sizes", "[[1], [1]]", "resblock_dilation_sizes"},
      {"/vocoder/bwe/n_fft", "127", "n_fft"},
      {"/vocoder/bwe/output_sampling_rate", "44100", "output_sampling_rate"},
      {"/vocoder/bwe/hop_length", "81", "hop_length"},
      {"/vocoder/bwe/hop_length", "40", "upsample_rates"},
  };
  const ModelImage good = ModelImage::synthesised(small_description("ltx23_tiny", Json::array({"transformer"})));
  for (const Edit& edit : edits) {
    INFO(edit.path << " = " << edit.value);
    ModelImage image = good;
    for (auto& [key, value] : image.metadata) {
      if (key != "config") continue;
      Json config = parse_json_text(value, "test");
      config[Json::json_pointer(edit.path)] = Json::parse(edit.value);
      value = config.dump();
    }
    CHECK_THAT(refusal(image), Contains(edit.named));
  }
}

TEST_CASE("A configuration that is no JSON object is refused", "[malformed]") {
  const ModelImage good = ModelImage::synthesised(small_description("ltx23_tiny", Json::array({"text"})));
  for (const char* text : {"", "{", "[]", "3", "null", "{\"transformer\": {}} x", "{\"a\": \"\\ud800\"}"}) {
    INFO(text);
    ModelImage image = good;
    for (auto& [key, value] : image.metadata) {
      if (key == "config") value = text;
    }
    CHECK_THAT(refusal(image), Contains("config"));
  }
}
