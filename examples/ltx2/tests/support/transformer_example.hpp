// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/memory/host_resource.hpp"
#include "runtime/runtime.hpp"
#include "support/numbers.hpp"
#include "synth/synthesise.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"
#include "transformer/transformer_model.hpp"

/// A transformer of chosen size with inputs made up for it.

namespace ltx2::test {

/// The description of a tiny model ("ltx23_tiny", "ltx20_tiny"), the transformer alone, with this many layers.
inline Description tiny_transformer(const std::string& name, std::int64_t layers) {
  Json json = read_json_file(golden_path("configs/" + name + ".json"));
  json["components"] = Json::array({"transformer"});
  json["config"]["transformer"]["num_layers"] = layers;
  return parse_description(json, name);
}

/// A synthetic checkpoint in a file that disappears with the object.
class SynthesisedCheckpoint {
 public:
  explicit SynthesisedCheckpoint(const Description& description) : checkpoint_(write(description), resource_) {}
  Checkpoint& operator*() noexcept { return checkpoint_; }
  const TransformerConfig& config() const { return *checkpoint_.config().transformer; }

 private:
  std::filesystem::path write(const Description& description) {
    const std::filesystem::path path = folder_ / "model.safetensors";
    synthesise(description, path);
    return path;
  }

  ScratchFolder folder_;
  ltxmem::HostResource resource_;
  Checkpoint checkpoint_;
};

/// Inputs of one modality and the memory that they point to.
class MadeUpStream {
 public:
  /// Tokens with these midpoints, [tokens, axes].
  MadeUpStream(std::int64_t axes, const std::vector<float>& midpoints, std::int64_t channels, std::int64_t context_rows,
               std::int64_t context_width, std::uint32_t seed)
      : tokens_(static_cast<std::int64_t>(midpoints.size()) / axes),
        latent_(ltxmem::test::random_values<float>(tokens_ * channels, seed)),
        context_(ltxmem::test::random_values<float>(context_rows * context_width, seed + 1)),
        positions_(distinct_positions({midpoints.data(), {tokens_, axes}})) {
    input_.latent = {latent_.data(), {tokens_, channels}};
    input_.timesteps = {0.7F};
    input_.sigma = 0.7F;
    input_.positions = &positions_;
    input_.context = {context_.data(), {context_rows, context_width}};
  }
  MadeUpStream(const MadeUpStream&) = delete;
  MadeUpStream& operator=(const MadeUpStream&) = delete;

  /// The first tokens get another timestep than the rest.
  void condition_first(std::int64_t tokens, float timestep) {
    index_.assign(static_cast<std::size_t>(tokens_), 0);
    std::fill_n(index_.begin(), tokens, 1);
    input_.timesteps = {0.7F, timestep};
    input_.timestep_index = {index_.data(), {tokens_}};
  }

  StreamInput& input() noexcept { return input_; }

 private:
  std::int64_t tokens_;
  std::vector<float> latent_;
  std::vector<float> context_;
  std::vector<std::int32_t> index_;
  TokenPositions positions_;
  StreamInput input_;
};

/// Midpoints of a grid of frames x height x width cells: seconds at 24 frames per second, pixels down, pixels across.
inline std::vector<float> video_midpoints(std::int64_t frames, std::int64_t height, std::int64_t width) {
  std::vector<float> midpoints;
  for (std::int64_t f = 0; f < frames; ++f) {
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        midpoints.push_back(f == 0 ? 0.5F / 24.0F : static_cast<float>(8 * f - 3) / 24.0F);
        midpoints.push_back(32.0F * (static_cast<float>(y) + 0.5F));
        midpoints.push_back(32.0F * (static_cast<float>(x) + 0.5F));
      }
    }
  }
  return midpoints;
}

inline std::vector<float> audio_midpoints(std::int64_t tokens) {
  std::vector<float> midpoints;
  for (std::int64_t t = 0; t < tokens; ++t) {
    midpoints.push_back(t == 0 ? 0.005F : static_cast<float>(4 * t - 1) * 0.01F);
  }
  return midpoints;
}

/// Video and audio for a transformer, and room for its results.
class MadeUpInput {
 public:
  MadeUpInput(const TransformerConfig& config, std::int64_t frames, std::int64_t height, std::int64_t width,
              std::int64_t audio_tokens, std::int64_t context_rows = 20)
      : video(3, video_midpoints(frames, height, width), config.in_channels, context_rows,
              config.caption_projection ? config.caption_channels : config.cross_attention_dim, 1),
        audio(1, audio_midpoints(audio_tokens), config.audio_in_channels, context_rows,
              config.caption_projection ? config.caption_channels : config.audio_cross_attention_dim, 5),
        video_velocity_(static_cast<std::size_t>(frames * height * width * config.out_channels)),
        audio_velocity_(static_cast<std::size_t>(audio_tokens * config.audio_out_channels)),
        video_extents_{frames * height * width, config.out_channels},
        audio_extents_{audio_tokens, config.audio_out_channels} {}

  TransformerInput input() {
    TransformerInput input{video.input(), audio.input(), skips, prefix};
    if (without_video) input.video.reset();
    if (without_audio) input.audio.reset();
    return input;
  }
  TransformerOutput output() {
    return {{video_velocity_.data(), video_extents_}, {audio_velocity_.data(), audio_extents_}};
  }

  /// The velocities of one forward pass, video then audio.
  std::vector<float> run(Runtime& runtime, const Checkpoint& checkpoint) {
    TransformerModel model(runtime, checkpoint);
    model.predict(input(), output());
    std::vector<float> all = video_velocity_;
    all.insert(all.end(), audio_velocity_.begin(), audio_velocity_.end());
    return all;
  }

  MadeUpStream video;
  MadeUpStream audio;
  std::vector<BlockSkips> skips;
  SharedPrefix prefix;
  bool without_video = false;
  bool without_audio = false;

 private:
  std::vector<float> video_velocity_;
  std::vector<float> audio_velocity_;
  ltxmem::Extents<2> video_extents_;
  ltxmem::Extents<2> audio_extents_;
};

/// What some calls of one model gave, video then audio, and what they took together.
struct PassesResult {
  std::vector<float> values;
  double flops = 0;
  SpaceBytes planned{};
  SpaceBytes measured{};
};

/// So many calls of one model, each of the input as prepare(call) leaves it.
template <class Prepare>
PassesResult run_passes(MadeUpInput& input, const Checkpoint& checkpoint, const Settings& settings, int calls,
                        const Prepare& prepare) {
  Runtime runtime(settings);
  PassesResult result;
  {
    const Stage stage(runtime, "passes");
    TransformerModel model(runtime, checkpoint);
    for (int call = 0; call < calls; ++call) {
      prepare(call);
      model.predict(input.input(), input.output());
      for (const auto& view : {input.output().video, input.output().audio}) {
        result.values.insert(result.values.end(), view.data(), view.data() + view.size());
      }
    }
  }
  const StageReport& stage = runtime.report().stages.back();
  result.flops = stage.operations.flops;
  result.planned = stage.planned_peak;
  result.measured = stage.measured_peak;
  return result;
}

/// How a pass is cut up and shared out.
struct Execution {
  std::int64_t query_tile;
  std::int64_t key_tile;
  std::int64_t ffn_chunk;
  int threads;
};

/// The velocities of one forward pass executed in this way.
inline std::vector<float> run(MadeUpInput& input, const Checkpoint& checkpoint, ltxmem::DType dtype,
                              const Execution& how, Scheme scheme = Scheme::e1) {
  Settings settings;
  settings.dtype = dtype;
  settings.scheme = scheme;
  settings.query_tile = how.query_tile;
  settings.key_tile = how.key_tile;
  settings.ffn_chunk = how.ffn_chunk;
  settings.threads = how.threads;
  Runtime runtime(settings);
  return input.run(runtime, checkpoint);
}

}  // namespace ltx2::test
