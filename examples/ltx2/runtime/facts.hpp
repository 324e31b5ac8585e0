// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ltx2 {

/// What has to be the same in two runs, or in two processes of one, by name.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// The first fact that is not as expected.
struct FactDifference {
  std::string name;
  std::string text;  ///< "'this', expected 'that'"; what is missing is "nothing"
};

inline std::optional<FactDifference> first_difference(const Facts& facts, const Facts& expected) {
  const auto [found, wanted] = std::mismatch(facts.begin(), facts.end(), expected.begin(), expected.end());
  if (found == facts.end() && wanted == expected.end()) return std::nullopt;
  const auto value = [](const Facts& of, Facts::const_iterator fact) {
    return fact == of.end() ? std::string("nothing") : "'" + fact->second + "'";
  };
  return FactDifference{(wanted == expected.end() ? found : wanted)->first,
                        value(facts, found) + ", expected " + value(expected, wanted)};
}

}  // namespace ltx2
