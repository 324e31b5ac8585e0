// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/log_mel.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/golden.hpp"

namespace {

using ltx2::log_mel;
using ltx2::LogMelConfig;

std::vector<float> tone(double hz, std::int64_t samples, double sample_rate = 16000) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < samples; ++i) {
    values.push_back(
        static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * hz * static_cast<double>(i) / sample_rate)));
  }
  return values;
}

void check_golden(const std::string& name) {
  const ltxmem::SafetensorsFile file(ltx2::test::golden_path("cases/audio_encode/" + name + ".safetensors"));
  const std::vector<float> waveform = ltx2::test::tensor_values<float>(file, "in.waveform");
  const std::vector<float> expected = ltx2::test::tensor_values<float>(file, "out.mel");
  const std::vector<float> got = log_mel(waveform, 2);
  REQUIRE(got.size() == expected.size());
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  CHECK(worst / largest < 5e-6);  // the reference holds window and filters in float
}

TEST_CASE("the log-mel spectrogram equals the reference for the 2.0 waveform") {
  check_golden("v20_waveform");
}
TEST_CASE("the log-mel spectrogram equals the reference for the 2.3 waveform") {
  check_golden("v23_waveform");
}

TEST_CASE("there is one frame per hop and one more") {
  const LogMelConfig config;
  CHECK(ltx2::log_mel_frames(5817, config) == 37);
  CHECK(ltx2::log_mel_frames(160, config) == 2);
  CHECK(ltx2::log_mel_frames(159, config) == 1);
  CHECK(log_mel(std::vector<float>(1600), 1).size() == 11 * 64);
}

TEST_CASE("silence is the logarithm of the floor") {
  const std::vector<float> values = log_mel(std::vector<float>(2000), 1);
  CHECK(std::all_of(values.begin(), values.end(), [](float v) { return v == static_cast<float>(std::log(1e-5)); }));
}

TEST_CASE("a tone is loudest in the filter around its frequency") {
  // Filter m is centred at mel 45.245640 (m + 1) / 65; 1000 Hz is mel 15, hence m = 20 or 21.
  const std::vector<float> values = log_mel(tone(1000, 8000), 1);
  const auto frame = values.begin() + 25 * 64;
  const auto loudest = std::max_element(frame, frame + 64) - frame;
  CHECK((loudest == 20 || loudest == 21));
}

TEST_CASE("the log-mel value of one filter follows from the definition, summed directly") {
  const LogMelConfig config{.sample_rate = 16000, .filter_length = 64, .hop_length = 16, .mel_bins = 4};
  std::vector<float> signal = tone(700, 100);
  for (std::size_t i = 0; i < signal.size(); ++i) signal[i] += 0.01F * static_cast<float>(i % 7);
  const std::vector<float> got = log_mel(signal, 1, config);
  const auto mel_to_hz = [](double mel) { return mel < 15 ? mel * 200 / 3 : 1000 * std::pow(6.4, (mel - 15) / 27); };
  const double top = 15 + 27 * std::log(8.0) / std::log(6.4);
  for (int frame = 0; frame < 7; ++frame) {
    for (int m = 0; m < 4; ++m) {
      const double low = mel_to_hz(top * m / 5);
      const double peak = mel_to_hz(top * (m + 1) / 5);
      const double high = mel_to_hz(top * (m + 2) / 5);
      double sum = 0;
      for (int bin = 0; bin <= 32; ++bin) {
        double real = 0;
        double imaginary = 0;
        for (int i = 0; i < 64; ++i) {
          int source = frame * 16 - 32 + i;
          if (source < 0) source = -source;
          if (source >= 100) source = 198 - source;
          const double value = (0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / 64)) *
                               static_cast<double>(signal[static_cast<std::size_t>(source)]);
          real += value * std::cos(2 * std::numbers::pi * bin * i / 64);
          imaginary -= value * std::sin(2 * std::numbers::pi * bin * i / 64);
        }
        const double hz = 250.0 * bin;
        const double weight = std::max(0.0, std::min((hz - low) / (peak - low), (high - hz) / (high - peak)));
        sum += weight * 2 / (high - low) * std::hypot(real, imaginary);
      }
      CHECK(got[static_cast<std::size_t>(frame * 4 + m)] == Approx(std::log(std::max(sum, 1e-5))).epsilon(1e-6));
    }
  }
}

TEST_CASE("channels are analysed independently") {
  const std::vector<float> left = tone(440, 1000);
  const std::vector<float> right = tone(3000, 1000);
  std::vector<float> both = left;
  both.insert(both.end(), right.begin(), right.end());
  std::vector<float> expected = log_mel(left, 1);
  const std::vector<float> second = log_mel(right, 1);
  expected.insert(expected.end(), second.begin(), second.end());
  CHECK(log_mel(both, 2) == expected);
}

TEST_CASE("sound too short to be mirrored and impossible settings are refused") {
  CHECK_THROWS_AS(log_mel(std::vector<float>(512), 1), ltxmem::ShapeError);
  CHECK_NOTHROW(log_mel(std::vector<float>(513), 1));
  CHECK_THROWS_AS(log_mel(std::vector<float>(2001), 2), ltxmem::ShapeError);
  CHECK_THROWS_AS(log_mel(std::vector<float>(2000), 0), ltxmem::ShapeError);
  CHECK_THROWS_AS(log_mel(std::vector<float>(2000), 1, {.filter_length = 1000}), ltxmem::ShapeError);
  CHECK_THROWS_AS(log_mel(std::vector<float>(2000), 1, {.hop_length = 0}), ltxmem::ShapeError);
  CHECK_THROWS_AS(log_mel(std::vector<float>(2000), 1, {.mel_bins = 0}), ltxmem::ShapeError);
}

}  // namespace
