// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/conditioning.hpp"

#include <algorithm>

namespace ltx2 {

using ltxmem::expects;
using ltxmem::TensorView;

namespace {

LatentState make_state(const HostWork& host, std::int64_t grid_tokens, std::int64_t appended_tokens,
                       std::int64_t channels, std::int64_t axes, TensorView<const float, 2> initial) {
  const std::int64_t tokens = grid_tokens + appended_tokens;
  LatentState state;
  state.latent = {host.memory("latent"), {tokens, channels}};
  state.clean = {host.memory("clean latent"), {tokens, channels}};
  state.mask = {host.values("mask"), {tokens}};
  state.midpoints = {host.values("token positions"), {tokens, axes}};
  state.grid_tokens = grid_tokens;
  expects(initial.empty() || (initial.extent(0) == grid_tokens && initial.extent(1) == channels),
          "initial latent: ", initial.extent(0), " tokens of ", initial.extent(1), " channels, expected ", grid_tokens,
          " of ", channels);
  host.run([&] {
    std::fill_n(state.latent.view().data(), tokens * channels, 0.0F);
    for (std::int64_t t = 0; t < initial.extent(0); ++t) {
      for (std::int64_t c = 0; c < channels; ++c) state.latent.view()(t, c) = initial(t, c);
    }
    std::copy_n(state.latent.view().data(), tokens * channels, state.clean.view().data());
  });
  std::fill_n(state.mask.view().data(), tokens, 1.0F);
  return state;
}

/// Between a and b, exact at both ends.
float blend(float a, float b, float weight) {
  return weight < 0.5F ? a + weight * (b - a) : b - (b - a) * (1.0F - weight);
}

template <class Noise>
void add_noise_of(const HostWork& host, LatentState& state, float scale, Noise&& noise) {
  const TensorView<float, 2> latent = state.latent.view();
  const TensorView<const float, 2> clean = state.clean.view();
  host.run([&] {
    for (std::int64_t t = 0; t < state.tokens(); ++t) {
      const float mask = state.mask.view()(t);
      for (std::int64_t c = 0; c < state.channels(); ++c) {
        latent(t, c) = blend(clean(t, c), blend(latent(t, c), noise(t, c), scale), mask);
      }
    }
  });
}

}  // namespace

LatentState make_video_state(const HostWork& host, const VideoGrid& grid, std::int64_t channels, double fps,
                             TensorView<const float, 2> initial, std::span<const ImageCondition> conditions) {
  std::int64_t keyframes = 0;
  for (const ImageCondition& condition : conditions) {
    expects(condition.tokens.extent(0) == grid.frame_tokens() && condition.tokens.extent(1) == channels,
            "image condition: ", condition.tokens.extent(0), " tokens of ", condition.tokens.extent(1),
            " channels, expected ", grid.frame_tokens(), " of ", channels);
    const std::int64_t frames = (grid.frames - 1) * latent_cell_frames + 1;
    expects(condition.frame >= 0 && condition.frame < frames, "image condition: frame ", condition.frame, " of ",
            frames);
    expects(condition.strength >= 0 && condition.strength <= 1, "image condition: strength ", condition.strength,
            ", expected 0 to 1");
    if (condition.frame > 0) ++keyframes;
  }
  LatentState state = make_state(host, grid.tokens(), keyframes * grid.frame_tokens(), channels, 3, initial);
  fill_video_midpoints(grid, fps, state.midpoints.view().rows(0, grid.tokens()));
  std::int64_t appended = grid.tokens();
  for (const ImageCondition& condition : conditions) {
    std::int64_t begin = 0;
    if (condition.frame > 0) {
      begin = appended;
      appended += grid.frame_tokens();
      fill_keyframe_midpoints(grid, condition.frame, fps, state.midpoints.view().rows(begin, grid.frame_tokens()));
    }
    std::fill_n(state.mask.view().data() + begin, grid.frame_tokens(), 1.0F - condition.strength);
    host.run([&] {
      for (std::int64_t t = 0; t < grid.frame_tokens(); ++t) {
        for (std::int64_t c = 0; c < channels; ++c) state.clean.view()(begin + t, c) = condition.tokens(t, c);
      }
    });
  }
  return state;
}

LatentState make_audio_state(const HostWork& host, std::int64_t tokens, std::int64_t channels,
                             TensorView<const float, 2> initial, bool frozen) {
  expects(!frozen || !initial.empty(), "audio state: frozen without a latent");
  LatentState state = make_state(host, tokens, 0, channels, 1, initial);
  fill_audio_midpoints(state.midpoints.view());
  state.frozen = frozen;
  if (frozen) std::fill_n(state.mask.view().data(), tokens, 0.0F);
  return state;
}

void add_noise(const HostWork& host, LatentState& state, TensorView<const float, 2> noise, float scale) {
  expects(noise.extents() == state.latent.extents(), "noise: ", noise.extent(0), " x ", noise.extent(1), ", expected ",
          state.tokens(), " x ", state.channels());
  add_noise_of(host, state, scale, [&](std::int64_t t, std::int64_t c) { return noise(t, c); });
}

void add_noise(const HostWork& host, LatentState& state, const NoiseStream& stream, float scale) {
  add_noise_of(host, state, scale, [&, channels = state.channels()](std::int64_t t, std::int64_t c) {
    return static_cast<float>(stream.normal(static_cast<std::uint64_t>(t * channels + c)));
  });
}

}  // namespace ltx2
