// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/ffmpeg.hpp"

#include <cstddef>
#include <optional>
#include <sstream>

#include "ltxmem/core/error.hpp"
#include "media/child_process.hpp"

namespace ltx2 {

Ffmpeg find_ffmpeg(const std::vector<std::string>& encoders) {
  const std::optional<std::string> path = find_program("ffmpeg");
  if (!path) return {.path = "", .problem = "no ffmpeg found in PATH"};
  std::vector<std::byte> listing;
  try {
    listing = ChildProcess({*path, "-hide_banner", "-loglevel", "error", "-encoders"}).finish();
  } catch (const ltxmem::IoError& error) {
    return {.path = *path, .problem = *path + " does not work: " + error.what()};
  }
  // Lines look like " V....D libx264   description": the name is the second word.
  std::istringstream lines(std::string(reinterpret_cast<const char*>(listing.data()), listing.size()));
  std::vector<std::string> present;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string flags;
    std::string name;
    if (words >> flags >> name) present.push_back(name);
  }
  for (const std::string& encoder : encoders) {
    bool found = false;
    for (const std::string& name : present) found = found || name == encoder;
    if (!found) return {.path = *path, .problem = *path + " has no encoder " + encoder};
  }
  return {.path = *path, .problem = ""};
}

}  // namespace ltx2
