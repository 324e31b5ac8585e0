// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "audio/filters.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltx2;
using ltxmem::TensorView;
using ltxmem::test::random_values;
using ltxmem::test::relative_error;

using Signal = std::vector<double>;

/// x with copies of its ends around it.
Signal replicated(const Signal& x, std::size_t before, std::size_t after) {
  Signal padded(before, x.front());
  padded.insert(padded.end(), x.begin(), x.end());
  padded.insert(padded.end(), after, x.back());
  return padded;
}

/// The full transposed convolution, without padding.
Signal transposed(const Signal& x, const Signal& filter, std::size_t stride) {
  Signal y((x.size() - 1) * stride + filter.size());
  for (std::size_t n = 0; n < x.size(); ++n) {
    for (std::size_t k = 0; k < filter.size(); ++k) y[n * stride + k] += x[n] * filter[k];
  }
  return y;
}

Signal convolved(const Signal& x, const Signal& filter, std::size_t stride) {
  Signal y;
  for (std::size_t n = 0; n + filter.size() <= x.size(); n += stride) {
    double sum = 0.0;
    for (std::size_t k = 0; k < filter.size(); ++k) sum += x[n + k] * filter[k];
    y.push_back(sum);
  }
  return y;
}

Signal column(const std::vector<float>& values, std::size_t channels, std::size_t channel) {
  Signal x;
  for (std::size_t i = channel; i < values.size(); i += channels) x.push_back(static_cast<double>(values[i]));
  return x;
}

/// The anti-aliased activation of one channel, step by step.
Signal exact_snake(const Signal& x, double alpha, double beta, const Signal& up, const Signal& down) {
  Signal doubled = transposed(replicated(x, 5, 5), up, 2);
  doubled = Signal(doubled.begin() + 15, doubled.end() - 15);
  for (double& u : doubled) u = 2.0 * u;
  for (double& u : doubled) u += std::pow(std::sin(u * std::exp(alpha)), 2) / (std::exp(beta) + 1e-9);
  return convolved(replicated(doubled, 5, 6), down, 2);
}

}  // namespace

TEST_CASE("The square of a sine is exact to a few fp32 roundings, far from zero too") {
  double worst = 0.0;
  for (const float scale : {1.0F, 100.0F, 10000.0F}) {
    for (const float value : random_values<float>(20000, 8)) {
      const double exact = std::pow(std::sin(static_cast<double>(scale * value)), 2);
      worst = std::max(worst, std::abs(exact - static_cast<double>(sine_squared(scale * value))));
    }
  }
  CHECK(worst < 1e-6);
  CHECK(sine_squared(0.0F) == 0.0F);
}

TEST_CASE("The anti-aliased snake equals its steps in double precision, across strips and at the ends") {
  for (const std::int64_t samples : {1, 2, 5, 63, 64, 65, 200}) {
    for (const std::int64_t channels : {1, 16, 19}) {
      const auto x = random_values<float>(samples * channels, 1);
      const auto alpha = random_values<float>(channels, 2);
      const auto beta = random_values<float>(channels, 3);
      const auto up = random_values<float>(12, 4);
      const auto down = random_values<float>(12, 5);
      const auto vector = [](const std::vector<float>& values) {
        return ltxmem::WeightVector(
            TensorView<const float, 1>(values.data(), {static_cast<std::int64_t>(values.size())}));
      };
      std::vector<float> y(x.size());
      const AntiAliasedSnake snake{{x.data(), {samples, channels}},
                                   {y.data(), {samples, channels}},
                                   {vector(alpha), vector(beta), vector(up), vector(down)}};
      ltxmem::CpuBackend<> backend({.threads = 2});
      backend.for_each({"snake", 0, 0}, snake.calls(), snake);
      std::vector<float> by_parts(y.size());
      AntiAliasedSnake parted = snake;
      parted.y = {by_parts.data(), {samples, channels}};
      for (std::int64_t part = 0; part < snake.calls() * AntiAliasedSnake::parts; ++part) {
        parted.part(part / AntiAliasedSnake::parts, part % AntiAliasedSnake::parts);
      }
      CHECK(ltxmem::test::same_bits(by_parts, y));
      std::vector<double> expected(y.size());
      for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
        const std::size_t width = static_cast<std::size_t>(channels);
        const Signal one = exact_snake(column(x, width, c), static_cast<double>(alpha[c]), static_cast<double>(beta[c]),
                                       column(up, 1, 0), column(down, 1, 0));
        REQUIRE(one.size() == static_cast<std::size_t>(samples));
        for (std::size_t n = 0; n < one.size(); ++n) expected[n * width + c] = one[n];
      }
      CHECK(relative_error(y, expected) < 1e-6);
    }
  }
}

TEST_CASE("Resampling equals padding, transposed convolution with the windowed sinc, and cutting") {
  for (const std::size_t factor : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    for (const std::int64_t samples : {1, 6, 50}) {
      const auto x = random_values<float>(samples * 2, 6);
      const auto rows = samples * static_cast<std::int64_t>(factor);
      auto correction = random_values<float>(rows * 2, 7);
      for (float& value : correction) value *= 0.3F;
      std::vector<float> y(correction.size());
      const ResampleAndAdd resample({x.data(), {samples, 2}}, {correction.data(), {rows, 2}}, {y.data(), {rows, 2}},
                                    static_cast<std::int64_t>(factor));
      ltxmem::CpuBackend<> backend;
      backend.for_each({"resample", 0, 0}, rows, resample);

      Signal filter;
      for (std::size_t k = 0; k <= 14 * factor; ++k) {
        const double t = (static_cast<double>(k) / static_cast<double>(factor) - 7.0) * 0.99;
        const double window = std::pow(std::cos(M_PI * std::clamp(t, -6.0, 6.0) / 12.0), 2);
        filter.push_back((t == 0.0 ? 1.0 : std::sin(M_PI * t) / (M_PI * t)) * window * 0.99);
      }
      std::vector<double> expected(y.size());
      for (std::size_t c = 0; c < 2; ++c) {
        const Signal full = transposed(replicated(column(x, 2, c), 7, 7), filter, factor);
        for (std::size_t n = 0; n < static_cast<std::size_t>(rows); ++n) {
          const double sum = full[n + 14 * factor] + static_cast<double>(correction[2 * n + c]);
          expected[2 * n + c] = std::clamp(sum, -1.0, 1.0);
        }
      }
      CHECK(relative_error(y, expected) < 1e-6);
    }
  }
}

TEST_CASE("Resampling a constant keeps it") {
  // The windowed sinc is a low pass of gain one, up to the ripple that its finite length leaves.
  const std::vector<float> x(60, 0.5F);
  const std::vector<float> none(180, 0.0F);
  std::vector<float> y(180);
  ltxmem::CpuBackend<> backend;
  backend.for_each({"resample", 0, 0}, 180,
                   ResampleAndAdd({x.data(), {60, 1}}, {none.data(), {180, 1}}, {y.data(), {180, 1}}, 3));
  for (const float value : y) CHECK(value == Approx(0.5F).epsilon(2e-3));
}

TEST_CASE("Resampling refuses a factor without room for its taps") {
  CHECK_THROWS_AS(ResampleAndAdd({}, {}, {}, 9), ltxmem::ShapeError);
  CHECK_THROWS_AS(ResampleAndAdd({}, {}, {}, 0), ltxmem::ShapeError);
}

TEST_CASE("A leaky ReLU scales what is negative") {
  const std::vector<float> x{-2.0F, -0.5F, 0.0F, 3.0F};
  std::vector<float> y(4);
  const LeakyRelu relu{{x.data(), {1, 4}}, {y.data(), {1, 4}}, 0.1F};
  relu(0);
  CHECK(y == std::vector<float>{-0.2F, -0.05F, 0.0F, 3.0F});
}

TEST_CASE("The mean over branches divides at the last one") {
  const std::vector<float> a{1.0F, 2.0F};
  const std::vector<float> b{5.0F, 10.0F};
  std::vector<float> sum{100.0F, 100.0F};
  Accumulate{{a.data(), {1, 2}}, {sum.data(), {1, 2}}, true, 1.0F}(0);
  Accumulate{{b.data(), {1, 2}}, {sum.data(), {1, 2}}, false, 2.0F}(0);
  CHECK(sum == std::vector<float>{3.0F, 6.0F});
}

TEST_CASE("A spectrogram's channels come before its bins in the vocoder's input") {
  const std::vector<float> mel{0.0F, 10.0F, 1.0F, 11.0F, 2.0F, 12.0F};  // three bins of two channels
  std::vector<float> y(6);
  ChannelsOfMel{{mel.data(), {1, 6}}, {y.data(), {1, 6}}, 2}(0);
  CHECK(y == std::vector<float>{0.0F, 1.0F, 2.0F, 10.0F, 11.0F, 12.0F});
}

TEST_CASE("A magnitude joins real parts with the imaginary parts behind them") {
  const std::vector<float> x{3.0F, 0.0F, -4.0F, 2.0F};
  std::vector<float> y(2);
  Magnitude{{x.data(), {1, 4}}, {y.data(), {1, 2}}}(0);
  CHECK(y == std::vector<float>{5.0F, 2.0F});
}
