// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace ltx2 {

/// The ffmpeg program, or why it cannot be used.
struct Ffmpeg {
  std::string path;
  std::string problem;  ///< empty when usable

  /// A command line: its path, the options every call starts with (quiet, never asking, failing on the first error),
  /// then the given ones.
  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all{path, "-hide_banner", "-nostdin", "-loglevel", "error", "-xerror", "-y"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }
};

/// Looks for ffmpeg in PATH and asks it whether it has these encoders.
Ffmpeg find_ffmpeg(const std::vector<std::string>& encoders);

}  // namespace ltx2
