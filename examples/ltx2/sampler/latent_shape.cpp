// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/latent_shape.hpp"

#include <algorithm>
#include <cmath>

namespace ltx2 {

using ltxmem::expects;
using ltxmem::TensorView;

VideoGrid video_grid(std::int64_t frames, std::int64_t height, std::int64_t width) {
  expects(frames >= 1 && (frames - 1) % latent_cell_frames == 0, "video: ", frames,
          " frames, expected 1 more than a multiple of ", latent_cell_frames);
  expects(height >= latent_cell_pixels && height % latent_cell_pixels == 0, "video: height ", height,
          ", expected a multiple of ", latent_cell_pixels);
  expects(width >= latent_cell_pixels && width % latent_cell_pixels == 0, "video: width ", width,
          ", expected a multiple of ", latent_cell_pixels);
  return {(frames - 1) / latent_cell_frames + 1, height / latent_cell_pixels, width / latent_cell_pixels};
}

std::int64_t audio_latent_frames(std::int64_t frames, double fps) {
  expects(frames >= 1 && fps > 0, "audio: ", frames, " frames at ", fps, " per second, expected positive numbers");
  const double exact = static_cast<double>(frames) / fps * 25.0;
  const double below = std::floor(exact);
  const double rest = exact - below;
  const bool up = rest > 0.5 || (rest == 0.5 && std::fmod(below, 2.0) != 0.0);
  return static_cast<std::int64_t>(below) + (up ? 1 : 0);
}

Interval latent_frame_interval(std::int64_t frame, double fps) {
  // The first latent frame covers one pixel frame, so all others begin seven pixel frames early.
  const auto pixel_frame = [](std::int64_t f) {
    return static_cast<float>(std::max<std::int64_t>(0, latent_cell_frames * f + 1 - latent_cell_frames));
  };
  const auto rate = static_cast<float>(fps);
  return {pixel_frame(frame) / rate, pixel_frame(frame + 1) / rate};
}

Interval pixel_frame_interval(std::int64_t frame, double fps) {
  const auto rate = static_cast<float>(fps);
  return {static_cast<float>(frame) / rate, static_cast<float>(frame + 1) / rate};
}

Interval cell_interval(std::int64_t cell) {
  return {static_cast<float>(cell * latent_cell_pixels), static_cast<float>((cell + 1) * latent_cell_pixels)};
}

Interval audio_frame_interval(std::int64_t frame) {
  const auto seconds = [](std::int64_t mel_frame) {
    return static_cast<float>(std::max<std::int64_t>(0, mel_frame)) * 160.0F / 16000.0F;
  };
  return {seconds(4 * frame - 3), seconds(4 * frame + 1)};
}

namespace {

void fill_frame_midpoints(const VideoGrid& grid, float seconds, TensorView<float, 2> midpoints) {
  for (std::int64_t token = 0; token < grid.frame_tokens(); ++token) {
    midpoints(token, 0) = seconds;
    midpoints(token, 1) = cell_interval(token / grid.width).middle();
    midpoints(token, 2) = cell_interval(token % grid.width).middle();
  }
}

}  // namespace

void fill_video_midpoints(const VideoGrid& grid, double fps, TensorView<float, 2> midpoints) {
  expects(midpoints.extent(0) == grid.tokens() && midpoints.extent(1) == 3, "video midpoints: ", midpoints.extent(0),
          " x ", midpoints.extent(1), ", expected ", grid.tokens(), " x 3");
  for (std::int64_t frame = 0; frame < grid.frames; ++frame) {
    fill_frame_midpoints(grid, latent_frame_interval(frame, fps).middle(),
                         midpoints.rows(frame * grid.frame_tokens(), grid.frame_tokens()));
  }
}

void fill_keyframe_midpoints(const VideoGrid& grid, std::int64_t pixel_frame, double fps,
                             TensorView<float, 2> midpoints) {
  expects(midpoints.extent(0) == grid.frame_tokens() && midpoints.extent(1) == 3,
          "keyframe midpoints: ", midpoints.extent(0), " x ", midpoints.extent(1), ", expected ", grid.frame_tokens(),
          " x 3");
  fill_frame_midpoints(grid, pixel_frame_interval(pixel_frame, fps).middle(), midpoints);
}

void fill_audio_midpoints(TensorView<float, 2> midpoints) {
  expects(midpoints.extent(1) == 1, "audio midpoints: ", midpoints.extent(1), " axes, expected 1");
  for (std::int64_t t = 0; t < midpoints.extent(0); ++t) midpoints(t, 0) = audio_frame_interval(t).middle();
}

void video_tokens_from_planes(TensorView<const float, 2> planes, TensorView<float, 2> tokens) {
  expects(planes.extent(0) == tokens.extent(1) && planes.extent(1) == tokens.extent(0),
          "video latent: ", planes.extent(0), " x ", planes.extent(1), " to tokens ", tokens.extent(0), " x ",
          tokens.extent(1));
  for (std::int64_t token = 0; token < tokens.extent(0); ++token) {
    for (std::int64_t channel = 0; channel < tokens.extent(1); ++channel) {
      tokens(token, channel) = planes(channel, token);
    }
  }
}

void video_planes_from_tokens(TensorView<const float, 2> tokens, TensorView<float, 2> planes) {
  video_tokens_from_planes(tokens, planes);  // both are one transposition
}

void audio_tokens_from_planes(TensorView<const float, 3> planes, TensorView<float, 2> tokens) {
  const std::int64_t bins = planes.extent(2);
  expects(tokens.extent(0) == planes.extent(1) && tokens.extent(1) == planes.extent(0) * bins,
          "audio latent: ", planes.extent(0), " x ", planes.extent(1), " x ", bins, " to tokens ", tokens.extent(0),
          " x ", tokens.extent(1));
  for (std::int64_t token = 0; token < tokens.extent(0); ++token) {
    for (std::int64_t feature = 0; feature < tokens.extent(1); ++feature) {
      tokens(token, feature) = planes(feature / bins, token, feature % bins);
    }
  }
}

void audio_planes_from_tokens(TensorView<const float, 2> tokens, TensorView<float, 3> planes) {
  const std::int64_t bins = planes.extent(2);
  expects(tokens.extent(0) == planes.extent(1) && tokens.extent(1) == planes.extent(0) * bins, "audio tokens ",
          tokens.extent(0), " x ", tokens.extent(1), " to latent ", planes.extent(0), " x ", planes.extent(1), " x ",
          bins);
  for (std::int64_t token = 0; token < tokens.extent(0); ++token) {
    for (std::int64_t feature = 0; feature < tokens.extent(1); ++feature) {
      planes(feature / bins, token, feature % bins) = tokens(token, feature);
    }
  }
}

}  // namespace ltx2
