// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.hpp"

#include <memory>
#include <string>

#include "checkpoint/model_report.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "tests/support/model_image.hpp"

using Catch::Matchers::Contains;
using ltxmem::DType;
using ltxmem::IoError;
using namespace ltx2;
using namespace ltx2::test;

namespace {

const std::string block = "model.diffusion_model.transformer_blocks.0.";

/// A model on disk for the time of a test.
struct Stored {
  ScratchFolder folder;
  ltxmem::HostResource host;
  ltxmem::CountingResource counted{host};
  std::string path = folder / "model.safetensors";

  explicit Stored(const ModelImage& image, std::size_t extra_spaces = 0) {
    write_text(path, image.bytes(extra_spaces));
  }
};

ModelImage transformer_image(const std::string& config) {
  return ModelImage::synthesised(small_description(config, Json::array({"transformer"})));
}

}  // namespace

TEST_CASE("Weights are used where they lie in the file", "[checkpoint]") {
  Stored stored(transformer_image("ltx23_tiny"));
  const Checkpoint checkpoint(stored.path, stored.counted);
  const LinearWeights layer = checkpoint.prefixed(block).linear("attn1.to_q", 64, 64);
  CHECK((layer.weight.rows == 64 && layer.weight.columns == 64 && layer.weight.row_stride == 64));
  CHECK(layer.weight.dtype == DType::f32);
  CHECK(layer.bias.size == 64);
  CHECK(layer.loras.empty());
  CHECK(stored.counted.total_bytes() == 0);
}

TEST_CASE("Files have other fingerprints when one weight differs, or its name", "[checkpoint]") {
  const ModelImage image = transformer_image("ltx23_tiny");
  const auto fingerprint = [](const ModelImage& of) {
    Stored stored(of);
    return Checkpoint(stored.path, stored.counted).tensors().fingerprint();
  };
  CHECK(fingerprint(image) == fingerprint(image));
  ModelImage other = image;
  other.at(block + "attn1.to_q.weight").data[5] ^= 1;
  CHECK(fingerprint(other) != fingerprint(image));
  ModelImage longer = image;
  longer.tensors.push_back({{"more", DType::f32, {0}}, ""});
  CHECK(fingerprint(longer) != fingerprint(image));
}

TEST_CASE("Misaligned tensors are copied once and counted", "[checkpoint]") {
  Stored stored(transformer_image("ltx23_tiny"), 1);
  const ModelImage image = ModelImage::read(stored.path);
  {
    const Checkpoint checkpoint(stored.path, stored.counted);
    CHECK(stored.counted.current_bytes() == checkpoint.tensors().copied_bytes());
    CHECK(checkpoint.tensors().copied_bytes() > 0);
    const auto bias = checkpoint.prefixed(block).vector("attn1.to_q.bias", 64);
    CHECK(reinterpret_cast<std::uintptr_t>(bias.data) % 4 == 0);
    CHECK(std::string(reinterpret_cast<const char*>(bias.data), 256) ==
          ModelImage(image).at(block + "attn1.to_q.bias").data);
  }
  CHECK(stored.counted.current_bytes() == 0);
}

TEST_CASE("fp8 weights come with the scale beside them", "[checkpoint]") {
  Stored stored(ModelImage::synthesised(read_description(golden_path("configs/ltx23_fp8.json"))));
  const Checkpoint checkpoint(stored.path, stored.counted);
  const LinearWeights layer = checkpoint.prefixed(block).linear("ff.net.2", 64, 256);
  CHECK(layer.weight.dtype == DType::f8_e4m3);
  REQUIRE(layer.weight.scale != nullptr);
  CHECK(*layer.weight.scale > 0);
  CHECK(checkpoint.prefixed(block).linear("attn1.to_gate_logits", 4, 64).weight.scale == nullptr);
}

TEST_CASE("Asking for what is not there names file, tensor, found and expected", "[checkpoint]") {
  Stored stored(transformer_image("ltx23_tiny"));
  const Checkpoint checkpoint(stored.path, stored.counted);
  const WeightScope scope = checkpoint.prefixed(block);
  CHECK_THAT(message_of<IoError>([&] { scope.matrix("attn3.weight", 2, 3); }),
             Contains(stored.path) && Contains(block + "attn3.weight") && Contains("missing") && Contains("[2, 3]"));
  CHECK_THAT(message_of<IoError>([&] { scope.matrix("attn1.to_q.weight", 64, 65); }),
             Contains("[64, 64]") && Contains("expected [64, 65]"));
  CHECK_THAT(message_of<IoError>([&] { scope.vector("attn1.to_q.weight", 64); }), Contains("expected [64]"));
  CHECK_THAT(message_of<IoError>([&] { checkpoint.gemma(); }), Contains("no Gemma text model"));
  CHECK(scope.has("attn1.to_q.weight"));
  CHECK_FALSE(scope.has("attn3.weight"));
}

TEST_CASE("Tensors of higher rank are matrices of their first extent", "[checkpoint]") {
  Stored stored(ModelImage::synthesised(small_description("ltx20_tiny", Json::array({"vae"}))));
  const Checkpoint checkpoint(stored.path, stored.counted);
  const WeightScope scope = checkpoint.prefixed("vae.").scope("encoder");
  const LinearWeights layer = scope.convolution("conv_in.conv", 4, 48, {3, 3, 3});
  CHECK((layer.weight.rows == 4 && layer.weight.columns == 48 * 27));
  CHECK(layer.bias.size == 4);
  CHECK_THAT(message_of<IoError>([&] {
               scope.convolution("conv_in.conv", 4, 48, {3, 3});
             }),
             Contains("[4, 48, 3, 3, 3]") && Contains("expected [4, 48, 3, 3]"));
}

TEST_CASE("LoRAs join the layers that they target, in the order they were added", "[checkpoint]") {
  const Description all = read_description(golden_path("configs/ltx23_tiny.json"));
  Stored stored(ModelImage::synthesised(all));
  Stored lora(ModelImage::synthesised(read_description(golden_path("configs/lora_tiny.json"))));
  const auto file = std::make_shared<const LoraFile>(lora.path, lora.counted);
  Checkpoint checkpoint(stored.path, stored.counted);
  checkpoint.add_lora(file, 0.5F);
  checkpoint.add_lora(file, -1.0F);
  const LinearWeights layer = checkpoint.prefixed(block).linear("attn1.to_q", 64, 64);
  REQUIRE(layer.loras.size() == 2);
  CHECK(layer.loras[0].strength == 0.5F);
  CHECK(layer.loras[1].strength == -1.0F);
  CHECK((layer.loras[0].a.rows == 4 && layer.loras[0].a.columns == 64 && layer.loras[0].b.rows == 64));
  CHECK(checkpoint.prefixed(block).linear("attn1.to_k", 64, 64).loras.empty());
  checkpoint.clear_loras();
  CHECK(checkpoint.prefixed(block).linear("attn1.to_q", 64, 64).loras.empty());
}

TEST_CASE("A LoRA for another model is refused by the module that does not fit", "[checkpoint]") {
  Stored lora(ModelImage::synthesised(read_description(golden_path("configs/lora_tiny.json"))));
  const auto file = std::make_shared<const LoraFile>(lora.path, lora.counted);
  Stored one_block(transformer_image("ltx23_tiny"));
  Checkpoint shallow(one_block.path, one_block.counted);
  CHECK_THAT(message_of<IoError>([&] { shallow.add_lora(file, 1); }),
             Contains(lora.path) && Contains("transformer_blocks.1.") && Contains("not in the checkpoint"));
  Stored other(ModelImage::synthesised(read_description(golden_path("configs/ltx20_tiny.json"))));
  Checkpoint narrow(other.path, other.counted);
  CHECK_THAT(message_of<IoError>([&] { narrow.add_lora(file, 1); }), Contains("made for a weight"));
}

TEST_CASE("A description stands for a checkpoint without memory", "[checkpoint]") {
  for (const char* name : {"ltx20_tiny", "ltx23_tiny", "ltx23_fp8"}) {
    INFO(name);
    const Description description = read_description(golden_path("configs/" + std::string(name) + ".json"));
    Stored stored(ModelImage::synthesised(description));
    const Checkpoint real(stored.path, stored.counted);
    const Checkpoint described(description);
    REQUIRE(described.tensors().tensors().size() == real.tensors().tensors().size());
    for (const StoredTensor& tensor : real.tensors().tensors()) {
      const StoredTensor* twin = described.tensors().find(tensor.name);
      REQUIRE(twin != nullptr);
      CHECK((twin->shape == tensor.shape && twin->dtype == tensor.dtype && twin->bytes == tensor.bytes));
    }
    CHECK(described.config().version == real.config().version);
    CHECK(described
              .linear(block + "attn1.to_q", described.config().transformer->width(),
                      described.config().transformer->width())
              .bias.size > 0);
  }
}

TEST_CASE("Gemma is read from a folder of shards under any of its prefixes", "[checkpoint]") {
  const std::string prefix = GENERATE("language_model.model.", "model.language_model.", "model.");
  Json json = read_json_file(golden_path("configs/gemma_tiny.json"));
  json["prefix"] = prefix;
  const ModelImage image = ModelImage::synthesised(parse_description(json, "gemma"));
  const ScratchFolder folder;
  ModelImage first = image, second = image;
  first.tensors.erase(first.tensors.begin() + 20, first.tensors.end());
  second.tensors.erase(second.tensors.begin(), second.tensors.begin() + 20);
  write_text(folder / "model-1.safetensors", first.bytes());
  write_text(folder / "model-2.safetensors", second.bytes());
  ltxmem::HostResource host;
  CHECK_THAT(message_of<IoError>([&] { Checkpoint(folder.path(), host); }), Contains("no config.json"));
  write_text(folder / "config.json", json["config"].dump());
  {
    const Checkpoint checkpoint(folder.path(), host);
    CHECK(checkpoint.gemma().prefix() == prefix);
    CHECK(checkpoint.gemma().matrix("layers.6.mlp.down_proj.weight", 24, 48).rows == 24);
    CHECK(checkpoint.config().gemma->full_attention ==
          std::vector<bool>{false, false, false, false, false, true, false});
  }
  write_text(folder / "model-2.safetensors", image.bytes());
  CHECK_THAT(message_of<IoError>([&] { Checkpoint(folder.path(), host); }), Contains("also in"));
}

TEST_CASE("A report counts parameters and bytes per part and lists what no part calls for", "[checkpoint]") {
  ModelImage image = ModelImage::synthesised(read_description(golden_path("configs/ltx20_tiny.json")));
  image.tensors.push_back({{"extra.weight", DType::bf16, {2}}, "abcd"});
  Stored stored(image);
  const ModelReport report = validate_model(stored.path, stored.counted);
  CHECK(report.kind == "LTX checkpoint");
  CHECK(report.version == "2.0 (2.0.0)");
  REQUIRE(report.components.size() == 6);
  CHECK(report.components[0].name == "transformer");
  CHECK(report.components[0].tensors == 54 + 3 * 72);
  CHECK(report.components[1].tensors == 2 * 29);
  std::size_t bytes = 0;
  for (const auto& component : report.components) bytes += component.bytes.at(DType::bf16);
  CHECK(bytes == ltxmem::SafetensorsFile(stored.path).data_bytes() - 4);
  CHECK(report.unknown == std::vector<std::string>{"extra.weight"});
}
