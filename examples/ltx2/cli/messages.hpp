// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <string>

namespace ltx2 {

/// How messages to people begin.
inline std::string warning_text(const std::string& message) {
  return "ltx2: warning: " + message;
}
inline std::string error_text(const std::string& message) {
  return "ltx2: error: " + message;
}

/// A number with one digit after the point.
inline std::string shortest_text(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, 1).ptr;
  return {text, end};
}

}  // namespace ltx2
