// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "tests/support/model_image.hpp"
#include "tests/support/program.hpp"

/// Damaged checkpoints given to the program: exit code 2 with a message naming file and cause, nothing left behind.

namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using namespace ltx2::test;

class Damage {
 public:
  /// Each damaged content goes through `info`, `generate` and `check` alike.
  void refused(const std::string& content, const std::string& named) {
    const ScratchFolder folder;
    const std::string path = folder / "damaged.safetensors";
    write_text(path, content);
    const auto before = listing(folder.path());
    ++count_;
    CAPTURE(count_, named);
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"info", path},
          TinyModels::get().generate(folder / "clip.y4m", {"--report", folder / "report.json"}, path),
          std::vector<std::string>{"check", golden_path("cases/video_decode/v23_1x3x2.safetensors"),
                                   "--checkpoint-path", path, "--report", folder / "report.json"}}) {
      const Ended ended = run_ltx2(words);
      CAPTURE(words.front());
      CHECK(ended.code == 2);
      CHECK_THAT(ended.messages, StartsWith("ltx2: error: ") && Contains(path) && Contains(named));
      CHECK(ended.output.empty());
      CHECK(listing(folder.path()) == before);
    }
  }
  void refused(const ModelImage& image, const std::string& named) { refused(image.bytes(), named); }
  int count() const { return count_; }

 private:
  int count_ = 0;
};

const ModelImage& whole_model() {
  static const ModelImage image = ModelImage::read(TinyModels::get().checkpoint());
  return image;
}

}  // namespace

TEST_CASE("The program refuses checkpoints with a tensor missing, reshaped or retyped", "[cli][malformed]") {
  Damage damage;
  const std::vector<ModelImage::Tensor>& tensors = whole_model().tensors;
  for (std::size_t i = 0; i < 6; ++i) {
    const std::string name = tensors[i * (tensors.size() - 1) / 5].spec.name;
    ModelImage image = whole_model();
    image.drop(name);
    damage.refused(image, "'" + name + "'");
    image = whole_model();
    image.at(name).spec.shape.insert(image.at(name).spec.shape.begin(), 1);
    damage.refused(image, "'" + name + "'");
    image = whole_model();
    image.at(name).spec.dtype = ltxmem::DType::i32;
    if (image.at(name).spec.bytes() == image.at(name).data.size()) damage.refused(image, "'" + name + "'");
  }
  CHECK(damage.count() >= 12);
}

TEST_CASE("The program refuses checkpoints that are cut or hold no header", "[cli][malformed]") {
  Damage damage;
  const std::string good = whole_model().bytes();
  for (std::size_t i = 0; i < 12; ++i) damage.refused(good.substr(0, i * (good.size() - 1) / 11), "");
  damage.refused(good + "x", "of data");
  damage.refused("", "");
  damage.refused(std::string(100, '\xff'), "");
  damage.refused(std::string("\x02\0\0\0\0\0\0\0{}", 10), "");
  damage.refused("PK\x03\x04 a zip archive, not a checkpoint", "");
  CHECK(damage.count() == 17);
}

TEST_CASE("The program refuses checkpoints with a damaged configuration", "[cli][malformed]") {
  struct Edit {
    const char* path;
    const char* value;
    const char* named;
  };
  Damage damage;
  for (const Edit& edit : {Edit{"/transformer/num_attention_heads", "0", "num_attention_heads"},
                           {"/transformer/num_attention_heads", "\"4\"", "num_attention_heads"},
                           {"/transformer/attention_head_dim", "15", "even"},
                           {"/transformer/num_layers", "100000000", "num_layers"},
                           {"/transformer/rope_type", "\"spiral\"", "rope_type"},
                           {"/transformer/norm_eps", "0", "norm_eps"},
                           {"/transformer/ff_bias", "false", "LTX-2.5"},
                           {"/transformer", "[]", "config.transformer"},
                           {"/vae/latent_channels", "0", "latent_channels"},
                           {"/vae/dims", "2", "dims"},
                           {"/vae/decoder_blocks/1/0", "\"compress_nothing\"", "compress_nothing"},
                           {"/audio_vae/model", "null", "config.audio_vae.model"},
                           {"/audio_vae/preprocessing/stft/hop_length", "0", "hop_length"},
                           {"/vocoder/vocoder/upsample_rates", "[5, 2]", "upsample_kernel_sizes"}}) {
    ModelImage image = whole_model();
    for (auto& [key, value] : image.metadata) {
      if (key != "config") continue;
      ltx2::Json config = ltx2::parse_json_text(value, "test");
      config[ltx2::Json::json_pointer(edit.path)] = ltx2::Json::parse(edit.value);
      value = config.dump();
    }
    damage.refused(image, edit.named);
  }
  for (const char* text : {"", "{", "[]", "null"}) {
    ModelImage image = whole_model();
    for (auto& [key, value] : image.metadata) {
      if (key == "config") value = text;
    }
    damage.refused(image, "config");
  }
  CHECK(damage.count() == 18);
}
