// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "tests/support/video_example.hpp"
#include "upsampler/upsampler.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;

Settings in_turns_of(std::int64_t frames) {
  Settings settings = case_settings();
  settings.decode_frames = frames;
  return settings;
}

}  // namespace

TEST_CASE("The upsampler gives the same bits however many frames pass at a time") {
  const GoldenCheckpoint model("ltx23_tiny");
  const GoldenCheckpoint upsampler("upscaler_tiny");
  const HostVolume latent({7, 3, 5, 6}, 1);
  Runtime whole(in_turns_of(7));
  const HostVolume expected = run_upsample(whole, *model, *upsampler, latent);
  for (const std::int64_t turn : {1, 2, 3, 4, 6, 50}) {
    CAPTURE(turn);
    Runtime runtime(in_turns_of(turn));
    CHECK(run_upsample(runtime, *model, *upsampler, latent).values == expected.values);
  }
}

TEST_CASE("A longer clip costs the upsampler two clips of pinned memory, and only moments on the device") {
  const GoldenCheckpoint model("ltx23_tiny");
  const GoldenCheckpoint upsampler("upscaler_tiny");
  const Runtime runtime(in_turns_of(2));
  const auto peak = [&](std::int64_t frames) {
    return plan_upsample_latent(runtime, *model, *upsampler, {frames, 24, 40, 6}).peak;
  };
  const auto shorter = peak(20);
  const auto longer = peak(10'020);
  // 48 x 80 positions of a frame are 15 chunks, of 32 groups with two fp32 values each.
  CHECK(longer[0] - shorter[0] == 10'000 * 15 * 32 * 2 * sizeof(float));
  const auto channels = static_cast<std::size_t>((*upsampler).config().upsampler->mid_channels);
  CHECK(longer[1] == 2 * 10'020 * 48 * 80 * channels * sizeof(float));
  CHECK(longer[2] == shorter[2]);
}
