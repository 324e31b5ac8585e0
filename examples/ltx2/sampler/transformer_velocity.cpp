// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/transformer_velocity.hpp"

#include <algorithm>

#include "model/modulation.hpp"

namespace ltx2 {

namespace {

StreamInput stream_input(const NoisyTokens& tokens, const DistinctValues& timesteps, const TokenPositions& positions,
                         ltxmem::TensorView<const float, 2> context) {
  StreamInput input;
  input.latent = tokens.latent;
  input.timesteps = timesteps.values;
  input.timestep_index = {timesteps.index.data(), {static_cast<std::int64_t>(timesteps.index.size())}};
  input.sigma = tokens.sigma;
  input.positions = &positions;
  input.context = context;
  input.enabled = tokens.updated;
  return input;
}

std::vector<BlockSkips> block_skips(const VelocityRequest& request, std::int64_t layers) {
  const auto& video = request.video.blocks_without_self_attention;
  const auto& audio = request.audio.blocks_without_self_attention;
  if (request.cross_modal && video.empty() && audio.empty()) return {};
  std::vector<BlockSkips> skips;
  for (std::int64_t block = 0; block < layers; ++block) {
    skips.push_back({.video_self = std::count(video.begin(), video.end(), block) > 0,
                     .audio_self = std::count(audio.begin(), audio.end(), block) > 0,
                     .audio_to_video = !request.cross_modal,
                     .video_to_audio = !request.cross_modal});
  }
  for (const auto& blocks : {video, audio}) {
    for (const std::int64_t block : blocks) {
      ltxmem::expects(block >= 0 && block < layers, "guidance: block ", block, " of ", layers);
    }
  }
  return skips;
}

SharedPrefix::Role prefix_role(Pass pass) noexcept {
  switch (pass) {
    case Pass::conditional: return SharedPrefix::Role::save;
    case Pass::perturbed: return SharedPrefix::Role::resume;
    case Pass::unconditional:
    case Pass::isolated: return SharedPrefix::Role::keep;
  }
  return SharedPrefix::Role::keep;
}

}  // namespace

TransformerVelocity::TransformerVelocity(TransformerModel& model, std::int64_t layers, const LatentState& video,
                                         const LatentState& audio, const ContextViews& positive,
                                         const ContextViews& negative)
    : model_(&model),
      layers_(layers),
      video_positions_(distinct_positions(video.midpoints.view())),
      audio_positions_(distinct_positions(audio.midpoints.view())),
      positive_(positive),
      negative_(negative) {}

std::size_t TransformerVelocity::host_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const TokenPositions* positions : {&video_positions_, &audio_positions_}) {
    bytes += positions->rows.size() * sizeof(std::int32_t);
    for (const std::vector<float>& axis : positions->midpoints) bytes += axis.size() * sizeof(float);
    bytes += static_cast<std::size_t>(positions->tokens()) * sizeof(std::int32_t);  // timestep indices
  }
  return bytes;
}

void TransformerVelocity::operator()(const VelocityRequest& request, ltxmem::TensorView<float, 2> video,
                                     ltxmem::TensorView<float, 2> audio) {
  const ContextViews& context = request.negative_context ? negative_ : positive_;
  ltxmem::expects(!context.video.empty() && !context.audio.empty(), "guidance: no ",
                  request.negative_context ? "negative" : "positive", " context");
  const DistinctValues video_timesteps = distinct_values(request.video.timesteps);
  const DistinctValues audio_timesteps = distinct_values(request.audio.timesteps);
  TransformerInput input;
  input.video = stream_input(request.video, video_timesteps, video_positions_, context.video);
  input.audio = stream_input(request.audio, audio_timesteps, audio_positions_, context.audio);
  input.skips = block_skips(request, layers_);
  if (shared_blocks_ < layers_) input.prefix = {shared_blocks_, prefix_role(request.pass)};
  if (announce_to_ != nullptr && announce_to_->is_watched()) {
    announce(input, {video, audio});
    announce_to_ = nullptr;
  }
  model_->predict(input, {video, audio});
}

void TransformerVelocity::announce(TransformerInput input, const TransformerOutput& output) const {
  std::int64_t steps = 0;
  for (const Pass pass : {Pass::conditional, Pass::unconditional, Pass::perturbed, Pass::isolated}) {
    const std::int64_t count = passes_[static_cast<std::size_t>(pass)];
    if (count == 0) continue;
    input.prefix.role = prefix_role(pass);
    steps += count * model_->plan(input, output).operations.steps;
  }
  announce_to_->announce(steps);
}

}  // namespace ltx2
