// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "ltxmem/backend/dry_run/record.hpp"
#include "ltxmem/memory/arena.hpp"
#include "runtime/report.hpp"

namespace ltx2 {

/// The most that each memory space holds from the entry of a step until the next one is entered, by the step's name:
/// over all its turns, whatever number they have.
std::map<std::string, SpaceBytes> planned_by_step(const ltxmem::Record& record);

/// Says of every named step of a body, as soon as it is over, what it was planned to hold of each memory space and what
/// it held. A planned number is that of the largest turn of a step; a ragged last tile holds less.
///
/// Resets the peaks of the arenas at every step; peaks() keeps them.
class StepTrace {
 public:
  using Line = std::function<void(const std::string&)>;

  /// Borrows the workspace. Says the heads of the columns.
  StepTrace(const ltxmem::Record& planned, ltxmem::Workspace& workspace, Line line);

  void enter(const char* name, std::int64_t index);
  /// The last step is over.
  void finish();

  /// The most bytes since the trace began.
  const SpaceBytes& peaks() const noexcept { return peaks_; }

 private:
  std::map<std::string, SpaceBytes> planned_;
  ltxmem::Workspace& workspace_;
  Line line_;
  SpaceBytes peaks_{};
  std::string name_;  ///< of the open step; empty: none yet
  std::int64_t index_ = -1;
};

}  // namespace ltx2
