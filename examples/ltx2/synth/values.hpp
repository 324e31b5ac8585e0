// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "synth/description.hpp"

namespace ltx2 {

/// FNV-1a with 32 bits.
std::uint32_t fnv1a(std::string_view text) noexcept;

/// The values of one synthetic tensor: a hash of the element's index, scaled by a rule that its name and shape choose.
/// All arithmetic is in double, operation by operation, so that the result equals that of array programs.
class TensorValues {
 public:
  TensorValues(const Description& description, const std::string& name, const std::vector<std::int64_t>& shape);

  double operator()(std::uint64_t index) const noexcept;

 private:
  enum class Rule : std::uint8_t { around_one, positive, scaled };

  Rule rule_ = Rule::scaled;
  double factor_ = 1;   // scaled: (factor * u) / divisor
  double divisor_ = 1;  // 1 divides nothing away
  std::optional<double> gain_;
  std::uint32_t hash_;
};

/// Row-major values of the tensors that hold filters and not learned weights; nothing for all others.
std::optional<std::vector<double>> fixed_values(std::string_view name, const std::vector<std::int64_t>& shape);

/// Low-pass filter with a Kaiser window: a windowed sinc of that many taps, normalized to the sum 1.
std::vector<double> kaiser_filter(std::int64_t taps, double cutoff = 0.25, double half_width = 0.3);

}  // namespace ltx2
