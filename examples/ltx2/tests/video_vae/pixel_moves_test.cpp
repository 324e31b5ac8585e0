// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "video_vae/pixel_moves.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltx2;
using ltxmem::Extents;
using ltxmem::TensorView;
using ltxmem::test::random_values;

/// A dense tensor of reproducible values, or of zeros with seed 0.
struct Volume {
  Extents<4> extents;
  std::vector<float> values;

  explicit Volume(const Extents<4>& e, std::uint32_t seed = 0)
      : extents(e), values(random_values<float>(ltxmem::element_count(e), seed)) {
    if (seed == 0) values.assign(values.size(), 0.0F);
  }
  TensorView<float, 4> view() { return {values.data(), extents}; }
};

template <class Fn>
void each(const Extents<4>& extents, Fn fn) {
  for (std::int64_t t = 0; t < extents[0]; ++t) {
    for (std::int64_t y = 0; y < extents[1]; ++y) {
      for (std::int64_t x = 0; x < extents[2]; ++x) {
        for (std::int64_t c = 0; c < extents[3]; ++c) fn(t, y, x, c);
      }
    }
  }
}

ltxmem::CpuBackend<>& backend() {
  static ltxmem::CpuBackend<> cpu({.threads = 2});
  return cpu;
}

}  // namespace

TEST_CASE("A patch's channels count colours, then columns, then rows") {
  Volume pixels({2, 8, 12, 3}, 1);
  Volume patches({2, 2, 3, 48});
  for_each_pixel(backend(), "patchify", pixels.view(), patches.view(),
                 Patchify<float>{pixels.view(), patches.view(), 4});
  bool equal = true;
  each(pixels.extents, [&](auto t, auto y, auto x, auto c) {
    equal = equal && patches.view()(t, y / 4, x / 4, (c * 4 + x % 4) * 4 + y % 4) == pixels.view()(t, y, x, c);
  });
  CHECK(equal);
}

TEST_CASE("Unpatchifying brings patches back as values between 0 and 1") {
  Volume pixels({2, 8, 12, 3}, 2);
  for (float& value : pixels.values) value *= 1.5F;  // some beyond the range
  Volume patches({2, 2, 3, 48});
  Volume back({2, 8, 3, 12});
  Patchify<float> patchify{pixels.view(), patches.view(), 4};
  for_each_pixel(backend(), "patchify", pixels.view(), patches.view(), patchify);
  for_each_pixel(backend(), "unpatchify", patches.view(), back.view(),
                 Unpatchify<float>{patches.view(), back.view(), 4});
  bool equal = true;
  int clamped = 0;
  for (std::size_t i = 0; i < pixels.values.size(); ++i) {
    const float expected = (pixels.values[i] + 1.0F) * 0.5F;
    if (expected < 0.0F || expected > 1.0F) ++clamped;
    equal = equal && back.values[i] == std::min(std::max(expected, 0.0F), 1.0F);
  }
  CHECK(equal);
  CHECK(clamped > 10);
}

TEST_CASE("Channels become offsets of time, height and width, in that order, and the first frame is dropped") {
  for (const std::int64_t time : {1, 2}) {
    for (const std::int64_t space : {1, 2, 3}) {
      const std::int64_t volume = time * space * space;
      Volume deep({3, 2, 4, 5 * volume}, 3);
      Volume fine({time * 3 - (time - 1), 2 * space, 4 * space, 5});
      for_each_pixel(backend(), "depth to space", deep.view(), fine.view(),
                     DepthToSpace<float>{deep.view(), {}, fine.view(), time, space, {time - 1, 0, 0}});
      bool equal = true;
      each(deep.extents, [&](auto t, auto y, auto x, auto channel) {
        const std::int64_t i = channel / (space * space) % time;
        const std::int64_t j = channel / space % space;
        const std::int64_t k = channel % space;
        const std::int64_t frame = t * time + i - (time - 1);
        if (frame < 0) return;
        equal = equal &&
                fine.view()(frame, y * space + j, x * space + k, channel / volume) == deep.view()(t, y, x, channel);
      });
      CHECK(equal);
    }
  }
}

TEST_CASE("The skip path of an upsampler repeats the moved input's channels") {
  Volume deep({2, 2, 2, 8 * 8}, 4);
  Volume input({2, 2, 2, 16}, 5);
  Volume moved({3, 4, 4, 2});
  Volume fine({3, 4, 4, 8});
  Volume plain({3, 4, 4, 8});
  const auto run = [](Volume& x, TensorView<const float, 4> skip, Volume& y) {
    for_each_pixel(backend(), "depth to space", x.view(), y.view(),
                   DepthToSpace<float>{x.view(), skip, y.view(), 2, 2, {1, 0, 0}});
  };
  run(input, {}, moved);
  run(deep, {}, plain);
  run(deep, input.view(), fine);
  bool equal = true;
  each(fine.extents, [&](auto t, auto y, auto x, auto c) {
    equal = equal && fine.view()(t, y, x, c) == plain.view()(t, y, x, c) + moved.view()(t, y, x, c % 2);
  });
  CHECK(equal);
}

TEST_CASE("A downsampler adds the mean over groups of the moved input's channels") {
  // 5 frames with a second copy of the first in front; 6 input channels times a volume of 8 for 16 outputs: groups
  // of 3.
  Volume input({5, 4, 6, 6}, 6);
  Volume fine({6, 4, 6, 2}, 7);
  Volume coarse({3, 2, 3, 16});
  for_each_pixel(backend(), "space to depth", fine.view(), coarse.view(),
                 SpaceToDepthSum<float>{fine.view(), input.view(), coarse.view(), 2, 2, 1});
  double worst = 0.0;
  each(coarse.extents, [&](auto t, auto y, auto x, auto channel) {
    const auto at = [&](TensorView<float, 4> from, std::int64_t s, std::int64_t extra) {
      const std::int64_t frame = std::max<std::int64_t>(2 * t + s / 4 % 2 - extra, 0);
      return static_cast<double>(from(frame, 2 * y + s / 2 % 2, 2 * x + s % 2, s / 8));
    };
    double expected = at(fine.view(), channel, 0);
    for (std::int64_t s = 3 * channel; s < 3 * channel + 3; ++s) expected += at(input.view(), s, 1) / 3.0;
    worst = std::max(worst, std::abs(expected - static_cast<double>(coarse.view()(t, y, x, channel))));
  });
  CHECK(worst < 1e-6);
}
