// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "ltxmem/core/tensor_view.hpp"

/// Noise as a function of (seed, stream, index): every value can be computed alone, so results depend on neither the
/// order of drawing nor the number of threads.

namespace ltx2 {

/// Counter-based random bits, Philox-4x32 with 10 rounds.
/// Source  J. Salmon, M. Moraes, R. Dror, D. Shaw: Parallel random numbers: as easy as 1, 2, 3 (2011), section 3.3
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                              std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

enum class Modality : std::uint8_t { video, audio };

/// What a draw is for. Draws with different purposes, stages, steps or modalities are independent.
enum class NoisePurpose : std::uint8_t { initial, midpoint, step };

struct NoiseStream {
  std::uint64_t seed = 0;
  Modality modality = Modality::video;
  NoisePurpose purpose = NoisePurpose::initial;
  std::uint8_t stage = 0;  ///< of a pipeline that samples more than once
  std::uint32_t step = 0;

  /// Standard normal number of the given index: 53-bit uniform numbers through the Box-Muller transform, which makes
  /// two normals of each block of 128 random bits.
  double normal(std::uint64_t index) const noexcept {
    const std::uint64_t block = index / 2;
    const std::uint32_t tag = static_cast<std::uint32_t>(stage) << 16 | static_cast<std::uint32_t>(purpose) << 8 |
                              static_cast<std::uint32_t>(modality);
    const auto bits = philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), step, tag},
                             {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    const auto uniform = [&](std::size_t word) {  // in (0, 1): the logarithm below needs more than zero
      const std::uint64_t wide = std::uint64_t{bits[word]} << 32 | bits[word + 1];
      return (static_cast<double>(wide >> 11) + 0.5) * 0x1p-53;
    };
    const double radius = std::sqrt(-2.0 * std::log(uniform(0)));
    const double angle = 2.0 * std::numbers::pi * uniform(2);
    return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
  }
};

/// Fills a dense tensor in row-major order with the normals 0, 1, 2, ... of a stream.
void fill_normal(const NoiseStream& stream, ltxmem::TensorView<float, 2> noise);

}  // namespace ltx2
