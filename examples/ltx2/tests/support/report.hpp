// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/// Words of a command line, and reports of the program that can be given back as such.

namespace ltx2::test {

using Words = std::vector<std::string>;

inline Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// The settings of a report as options, but for the device, which a plan has from its profile, and one that stands in
/// the command line already.
inline Words stated_options(const nlohmann::json& report, const std::string& but_for = "") {
  Words options;
  for (const auto& [name, value] : report.at("settings").items()) {
    if (name == "device" || name == but_for) continue;
    options.push_back("--" + name);
    options.push_back(value.is_string() ? value.get<std::string>() : value.dump());
  }
  return options;
}

}  // namespace ltx2::test
