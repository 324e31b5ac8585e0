// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/conditioning.hpp"

#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

using ltxmem::TensorView;

namespace {

const ltx2::VideoGrid grid{2, 1, 2};
constexpr std::int64_t channels = 3;

struct Fixture {
  ltxmem::HostResource host;
  std::vector<float> image = std::vector<float>(2 * channels, 7.0F);
  std::vector<float> initial = std::vector<float>(4 * channels, 2.0F);
  std::vector<float> noise = std::vector<float>(6 * channels, 10.0F);

  TensorView<const float, 2> image_tokens() const { return {image.data(), {2, channels}}; }
  TensorView<const float, 2> initial_tokens() const { return {initial.data(), {4, channels}}; }
  TensorView<const float, 2> noise_tokens(std::int64_t tokens) const { return {noise.data(), {tokens, channels}}; }
  ltx2::LatentState video(std::vector<ltx2::ImageCondition> conditions, bool with_initial = false) {
    return ltx2::make_video_state(host, grid, channels, 24,
                                  with_initial ? initial_tokens() : TensorView<const float, 2>(), conditions);
  }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "A state without conditions is all to be generated and becomes the noise") {
  ltx2::LatentState state = video({});
  CHECK(state.tokens() == 4);
  CHECK(state.mask.view()(3) == 1.0F);
  ltx2::add_noise(host, state, noise_tokens(4), 1.0F);
  CHECK(state.latent.view()(2, 1) == 10.0F);
}

TEST_CASE_METHOD(Fixture, "Noise of scale s leaves the share 1 - s of the initial latent") {
  ltx2::LatentState state = video({}, true);
  ltx2::add_noise(host, state, noise_tokens(4), 0.75F);
  CHECK(state.latent.view()(0, 0) == Approx(0.25 * 2 + 0.75 * 10));
}

TEST_CASE_METHOD(Fixture, "An image at frame 0 holds the first latent frame and no other token") {
  ltx2::LatentState state = video({{image_tokens(), 0, 1.0F}});
  CHECK(state.tokens() == 4);
  ltx2::add_noise(host, state, noise_tokens(4), 1.0F);
  CHECK(state.mask.view()(1) == 0.0F);
  CHECK(state.latent.view()(1, 2) == 7.0F);
  CHECK(state.mask.view()(2) == 1.0F);
  CHECK(state.latent.view()(2, 2) == 10.0F);
}

TEST_CASE_METHOD(Fixture, "A weaker image leaves the share 1 - strength of the noise") {
  ltx2::LatentState state = video({{image_tokens(), 0, 0.75F}});
  ltx2::add_noise(host, state, noise_tokens(4), 1.0F);
  CHECK(state.latent.view()(0, 0) == Approx(0.75 * 7 + 0.25 * 10));
}

TEST_CASE_METHOD(Fixture, "An image at a later frame is appended at its own time and is no part of the result") {
  ltx2::LatentState state = video({{image_tokens(), 5, 1.0F}}, true);
  CHECK(state.tokens() == 6);
  CHECK(state.grid_tokens == 4);
  CHECK(state.result().extent(0) == 4);
  CHECK(state.midpoints.view()(4, 0) == Approx(5.5 / 24));
  CHECK(state.clean.view()(5, 0) == 7.0F);
  CHECK(state.latent.view()(5, 0) == 0.0F);
  CHECK(state.clean.view()(3, 0) == 2.0F);
}

TEST_CASE_METHOD(Fixture, "Keyframes are appended in the order of their conditions") {
  const ltx2::LatentState state =
      video({{image_tokens(), 8, 1.0F}, {image_tokens(), 0, 0.5F}, {image_tokens(), 3, 1.0F}});
  REQUIRE(state.tokens() == 8);
  CHECK(state.midpoints.view()(4, 0) == Approx(8.5 / 24));
  CHECK(state.midpoints.view()(6, 0) == Approx(3.5 / 24));
  CHECK(state.mask.view()(0) == 0.5F);
}

TEST_CASE_METHOD(Fixture, "Conditions that do not fit the clip are refused") {
  CHECK_THROWS_AS(video({{image_tokens(), 9, 1.0F}}), ltxmem::ShapeError);
  CHECK_THROWS_AS(video({{image_tokens(), 0, 1.5F}}), ltxmem::ShapeError);
  CHECK_THROWS_AS(video({{image_tokens().rows(0, 1), 0, 1.0F}}), ltxmem::ShapeError);
  ltx2::LatentState state = video({});
  CHECK_THROWS_AS(ltx2::add_noise(host, state, noise_tokens(6), 1.0F), ltxmem::ShapeError);
}

TEST_CASE_METHOD(Fixture, "Frozen audio stays as it is given") {
  ltx2::LatentState state = ltx2::make_audio_state(host, 4, channels, initial_tokens(), true);
  ltx2::add_noise(host, state, noise_tokens(4), 1.0F);
  CHECK(state.frozen);
  CHECK(state.latent.view()(3, 1) == 2.0F);
  CHECK_THROWS_AS(ltx2::make_audio_state(host, 4, channels, {}, true), ltxmem::ShapeError);
}

TEST_CASE_METHOD(Fixture, "Noise from a stream equals the stream's values") {
  ltx2::LatentState state = ltx2::make_audio_state(host, 4, channels, {});
  const ltx2::NoiseStream stream{.seed = 4, .modality = ltx2::Modality::audio};
  ltx2::add_noise(host, state, stream, 1.0F);
  CHECK(state.latent.view()(2, 1) == static_cast<float>(stream.normal(7)));
}

TEST_CASE_METHOD(Fixture, "A state takes the documented memory") {
  ltxmem::CountingResource counted(host);
  const ltx2::LatentState state = ltx2::make_audio_state(counted, 4, channels, {});
  CHECK(counted.current_bytes() == 4 * (2 * channels + 1 + 1) * sizeof(float));
}
