// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/latent_shape.hpp"

#include <numeric>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"

using ltxmem::TensorView;

TEST_CASE("A clip's latent grid divides its pixels by 32 and its frames by 8, the first one apart") {
  CHECK(ltx2::video_grid(121, 512, 768) == ltx2::VideoGrid{16, 16, 24});
  CHECK(ltx2::video_grid(1, 32, 32) == ltx2::VideoGrid{1, 1, 1});
  CHECK(ltx2::video_grid(9, 64, 96).tokens() == 12);
}

TEST_CASE("Clips of other sizes are refused") {
  CHECK_THROWS_AS(ltx2::video_grid(120, 512, 768), ltxmem::ShapeError);
  CHECK_THROWS_AS(ltx2::video_grid(121, 500, 768), ltxmem::ShapeError);
  CHECK_THROWS_AS(ltx2::video_grid(121, 512, 0), ltxmem::ShapeError);
}

TEST_CASE("Audio latents have 25 frames a second") {
  CHECK(ltx2::audio_latent_frames(121, 24) == 126);
  CHECK(ltx2::audio_latent_frames(257, 24) == 268);
  CHECK(ltx2::audio_latent_frames(481, 24) == 501);
  CHECK(ltx2::audio_latent_frames(801, 24) == 834);
  CHECK(ltx2::audio_latent_frames(897, 24) == 934);
  CHECK(ltx2::audio_latent_frames(2401, 24) == 2501);
  CHECK(ltx2::audio_latent_frames(121, 25) == 121);
}

TEST_CASE("Half an audio frame is rounded to the even number") {
  CHECK(ltx2::audio_latent_frames(1, 10) == 2);  // 2.5
  CHECK(ltx2::audio_latent_frames(3, 50) == 2);  // 1.5
  CHECK(ltx2::audio_latent_frames(9, 50) == 4);  // 4.5
}

TEST_CASE("The first latent frame covers one pixel frame, the others eight") {
  CHECK(ltx2::latent_frame_interval(0, 24).begin == 0.0F);
  CHECK(ltx2::latent_frame_interval(0, 24).end == 1.0F / 24.0F);
  CHECK(ltx2::latent_frame_interval(3, 24).begin == 17.0F / 24.0F);
  CHECK(ltx2::latent_frame_interval(3, 24).end == 25.0F / 24.0F);
}

TEST_CASE("The first audio frame covers one mel frame, the others four") {
  CHECK(ltx2::audio_frame_interval(0).begin == 0.0F);
  CHECK(ltx2::audio_frame_interval(0).end == Approx(0.01));
  CHECK(ltx2::audio_frame_interval(5).begin == Approx(0.17));
  CHECK(ltx2::audio_frame_interval(5).middle() == Approx(0.19));
}

TEST_CASE("Midpoints of a grid run over columns, then rows, then frames") {
  const ltx2::VideoGrid grid{2, 2, 3};
  std::vector<float> data(12 * 3);
  const TensorView<float, 2> midpoints(data.data(), {12, 3});
  ltx2::fill_video_midpoints(grid, 24, midpoints);
  CHECK(midpoints(0, 0) == Approx(0.5 / 24));
  CHECK(midpoints(6, 0) == Approx(5.0 / 24));
  CHECK(midpoints(3, 1) == 48.0F);
  CHECK(midpoints(5, 2) == 80.0F);
  CHECK_THROWS_AS(ltx2::fill_video_midpoints(grid, 24, midpoints.rows(0, 6)), ltxmem::ShapeError);
}

TEST_CASE("A keyframe's tokens are half a frame after its beginning") {
  const ltx2::VideoGrid grid{2, 1, 2};
  std::vector<float> data(2 * 3);
  const TensorView<float, 2> midpoints(data.data(), {2, 3});
  ltx2::fill_keyframe_midpoints(grid, 5, 24, midpoints);
  CHECK(midpoints(1, 0) == Approx(5.5 / 24));
  CHECK(midpoints(1, 2) == 48.0F);
}

TEST_CASE("Video latents go to tokens and back") {
  std::vector<float> planes(2 * 3), tokens(3 * 2), again(2 * 3);
  std::iota(planes.begin(), planes.end(), 0.0F);
  ltx2::video_tokens_from_planes({planes.data(), {2, 3}}, {tokens.data(), {3, 2}});
  CHECK(tokens == std::vector<float>{0, 3, 1, 4, 2, 5});
  ltx2::video_planes_from_tokens({tokens.data(), {3, 2}}, {again.data(), {2, 3}});
  CHECK(again == planes);
}

TEST_CASE("Audio tokens hold channels one after the other") {
  std::vector<float> planes(2 * 3 * 2), tokens(3 * 4), again(2 * 3 * 2);
  std::iota(planes.begin(), planes.end(), 0.0F);
  ltx2::audio_tokens_from_planes({planes.data(), {2, 3, 2}}, {tokens.data(), {3, 4}});
  CHECK(tokens == std::vector<float>{0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11});
  ltx2::audio_planes_from_tokens({tokens.data(), {3, 4}}, {again.data(), {2, 3, 2}});
  CHECK(again == planes);
}
