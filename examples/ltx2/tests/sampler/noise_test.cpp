// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "sampler/noise.hpp"

#include <cmath>
#include <set>
#include <vector>

#include "support/catch.hpp"

using ltx2::Modality;
using ltx2::NoisePurpose;
using ltx2::NoiseStream;

TEST_CASE("Philox gives the published known answers") {
  using Counter = std::array<std::uint32_t, 4>;
  CHECK(ltx2::philox({0, 0, 0, 0}, {0, 0}) == Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(ltx2::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(ltx2::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Noise has the first four moments of the standard normal distribution") {
  const NoiseStream stream{.seed = 10};
  constexpr int count = 200000;
  double sums[4] = {};
  for (int i = 0; i < count; ++i) {
    const double x = stream.normal(static_cast<std::uint64_t>(i));
    sums[0] += x;
    sums[1] += x * x;
    sums[2] += x * x * x;
    sums[3] += x * x * x * x;
  }
  // Five standard errors of each moment: sqrt(1, 2, 15, 96) / sqrt(count).
  CHECK(sums[0] / count == Approx(0).margin(0.0112));
  CHECK(sums[1] / count == Approx(1).margin(0.0158));
  CHECK(sums[2] / count == Approx(0).margin(0.0433));
  CHECK(sums[3] / count == Approx(3).margin(0.1096));
}

TEST_CASE("Noise of neighbouring indices is not correlated") {
  const NoiseStream stream{.seed = 3, .modality = Modality::audio};
  constexpr int count = 100000;
  double sum = 0;
  for (int i = 0; i + 1 < count; ++i) {
    sum += stream.normal(static_cast<std::uint64_t>(i)) * stream.normal(static_cast<std::uint64_t>(i) + 1);
  }
  CHECK(sum / count == Approx(0).margin(5 / std::sqrt(count)));
}

TEST_CASE("Every part of a noise stream's name changes its values") {
  const NoiseStream base{.seed = 1, .modality = Modality::video, .purpose = NoisePurpose::step, .stage = 1, .step = 1};
  std::vector<NoiseStream> streams(6, base);
  streams[1].seed += std::uint64_t{1} << 32;
  streams[2].modality = Modality::audio;
  streams[3].purpose = NoisePurpose::midpoint;
  streams[4].stage = 2;
  streams[5].step = 2;
  std::set<double> values;
  for (const NoiseStream& stream : streams) values.insert(stream.normal(5));
  CHECK(values.size() == streams.size());
}

TEST_CASE("A noise value depends on its index alone") {
  const NoiseStream stream{.seed = 7, .step = 2};
  std::vector<float> all(12);
  ltx2::fill_normal(stream, {all.data(), {4, 3}});
  CHECK(all[11] == static_cast<float>(stream.normal(11)));
  CHECK(std::isfinite(stream.normal(std::uint64_t{1} << 40)));
  CHECK(stream.normal(std::uint64_t{1} << 40) != stream.normal(0));
}
