// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check/case.hpp"
#include "checkpoint/lora_file.hpp"
#include "config/transformer_config.hpp"
#include "ltxmem/core/error.hpp"
#include "model/modulation.hpp"
#include "model/rotary.hpp"
#include "transformer/transformer_model.hpp"

namespace ltx2 {

namespace {

using ltxmem::expects;
using ltxmem::IoError;

/// One modality of one sample of a case, and what its StreamInput points to.
struct Sample {
  std::vector<float> midpoints;
  TokenPositions positions;
  DistinctValues timesteps;
  StreamInput input;
};

/// The part of a tensor [B, ...] that belongs to one sample, as a view of the remaining extents.
template <std::size_t Rank>
ltxmem::TensorView<const float, Rank> sample_of(const Case& test, const std::string& name, std::int64_t sample) {
  const HostTensor& tensor = test.input(name);
  expects<IoError>(tensor.shape.size() == Rank + 1 && sample < tensor.shape[0], test.name, ": ", name, " of rank ",
                   tensor.shape.size(), ", expected ", Rank + 1, " with a batch in front");
  ltxmem::Extents<Rank + 1> extents{};
  std::copy(tensor.shape.begin(), tensor.shape.end(), extents.begin());
  return tensor.view(extents)[sample];
}

/// start and end of every token [axes, N, 2] to midpoints [N, axes].
void take_positions(const Case& test, const std::string& name, std::int64_t index, Sample& sample) {
  const auto intervals = sample_of<3>(test, name, index);
  const std::int64_t axes = intervals.extent(0);
  const std::int64_t tokens = intervals.extent(1);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t axis = 0; axis < axes; ++axis) {
      sample.midpoints.push_back((intervals(axis, token, 0) + intervals(axis, token, 1)) / 2.0F);
    }
  }
  sample.positions = distinct_positions({sample.midpoints.data(), {tokens, axes}});
}

std::unique_ptr<Sample> make_sample(const Case& test, const std::string& modality, std::int64_t index) {
  if (!test.has_input(modality + ".latent")) return nullptr;
  auto sample = std::make_unique<Sample>();
  StreamInput& input = sample->input;
  input.latent = sample_of<2>(test, modality + ".latent", index);
  sample->timesteps = distinct_values(sample_of<1>(test, modality + ".timesteps", index));
  input.timesteps = sample->timesteps.values;
  input.timestep_index = {sample->timesteps.index.data(), {static_cast<std::int64_t>(sample->timesteps.index.size())}};
  input.sigma = test.input(modality + ".sigma").floats().at(static_cast<std::size_t>(index));
  take_positions(test, modality + ".positions", index, *sample);
  input.positions = &sample->positions;
  input.context = sample_of<2>(test, modality + ".context", index);
  if (test.has_input(modality + ".attention_mask")) {
    input.attention_mask = sample_of<2>(test, modality + ".attention_mask", index);
  }
  for (const auto& disabled : test.options.value("disabled", nlohmann::json::array())) {
    if (disabled == modality) input.enabled = false;
  }
  return sample;
}

/// options.perturbations of one sample: which blocks leave out what; empty when none does.
std::vector<BlockSkips> skips_of(const Case& test, std::int64_t sample, std::int64_t layers) {
  std::vector<BlockSkips> skips;
  if (!test.options.contains("perturbations")) return skips;
  static const std::array<std::pair<const char*, bool BlockSkips::*>, 4> types{{
      {"skip_video_self_attn", &BlockSkips::video_self},
      {"skip_audio_self_attn", &BlockSkips::audio_self},
      {"skip_a2v_cross_attn", &BlockSkips::audio_to_video},
      {"skip_v2a_cross_attn", &BlockSkips::video_to_audio},
  }};
  skips.resize(static_cast<std::size_t>(layers));
  for (const auto& perturbation : test.options.at("perturbations").at(static_cast<std::size_t>(sample))) {
    const std::string type = perturbation.at("type");
    const auto known = std::find_if(types.begin(), types.end(), [&](const auto& entry) { return type == entry.first; });
    expects<IoError>(known != types.end(), test.name, ": unknown perturbation ", type);
    std::vector<std::size_t> blocks;
    if (perturbation.at("blocks").is_null()) {
      for (std::size_t block = 0; block < skips.size(); ++block) blocks.push_back(block);
    } else {
      blocks = perturbation.at("blocks").get<std::vector<std::size_t>>();
    }
    for (const std::size_t block : blocks) skips.at(block).*(known->second) = true;
  }
  return skips;
}

/// The configuration of the file with the keys of options.config put over it.
TransformerConfig config_of(const Case& test, const Checkpoint& checkpoint) {
  expects<IoError>(checkpoint.config().transformer.has_value(), test.name, ": the model holds no transformer");
  if (!test.options.contains("config")) return *checkpoint.config().transformer;
  Json transformer = checkpoint.config().json.at("transformer");
  for (const auto& [key, value] : test.options.at("config").items()) transformer[key] = value;
  return parse_transformer_config(Fields(transformer, test.name + ": transformer"));
}

/// The LoRAs of a case, on the checkpoint while this lives.
class Loras {
 public:
  Loras(const Case& test, const CaseModels& models, Runtime& runtime, Checkpoint& checkpoint)
      : checkpoint_(checkpoint) {
    for (const auto& lora : test.options.value("loras", nlohmann::json::array())) {
      const std::filesystem::path path = models.path(lora.at("file").get<std::string>());
      files_.push_back(std::make_shared<LoraFile>(path, runtime.host_work().values("copies of misaligned weights")));
      checkpoint.add_lora(files_.back(), lora.at("strength").get<float>());
    }
  }
  Loras(const Loras&) = delete;
  Loras& operator=(const Loras&) = delete;
  ~Loras() { checkpoint_.clear_loras(); }

 private:
  Checkpoint& checkpoint_;
  std::vector<std::shared_ptr<const LoraFile>> files_;
};

}  // namespace

HostTensors run_transformer_case(const Case& test, CaseModels& models, Runtime& runtime) {
  Checkpoint& checkpoint = models.model_of(test);
  const TransformerConfig config = config_of(test, checkpoint);
  const Loras loras(test, models, runtime, checkpoint);
  TransformerModel model(runtime, checkpoint, config);

  HostTensors outputs;
  std::int64_t batch = 0;
  for (const char* modality : {"video", "audio"}) {
    const std::string latent = std::string(modality) + ".latent";
    if (!test.has_input(latent)) continue;
    std::vector<std::int64_t> shape = test.input(latent).shape;
    expects<IoError>(shape.size() == 3, test.name, ": ", latent, " of rank ", shape.size(), ", expected 3");
    batch = shape[0];
    shape[2] = std::string(modality) == "video" ? config.out_channels : config.audio_out_channels;
    outputs[std::string(modality) + ".velocity"] = HostTensor::zeros(std::move(shape));
  }
  for (std::int64_t index = 0; index < batch; ++index) {
    const auto velocity = [&](const std::string& modality) -> ltxmem::TensorView<float, 2> {
      const auto found = outputs.find(modality + ".velocity");
      if (found == outputs.end()) return {};
      const auto& shape = found->second.shape;
      return found->second.view(ltxmem::Extents<3>{shape[0], shape[1], shape[2]})[index];
    };
    const auto video = make_sample(test, "video", index);
    const auto audio = make_sample(test, "audio", index);
    TransformerInput input;
    if (video) input.video = video->input;
    if (audio) input.audio = audio->input;
    input.skips = skips_of(test, index, config.layers);
    model.predict(input, {velocity("video"), velocity("audio")});
  }
  return outputs;
}

}  // namespace ltx2
