// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

namespace ltx2 {

class Runtime;

/// Names, times and measures a part of a run while it lives; stages do not nest.
class Stage {
 public:
  Stage(Runtime& runtime, std::string name);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage();

 private:
  Runtime& runtime_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace ltx2
