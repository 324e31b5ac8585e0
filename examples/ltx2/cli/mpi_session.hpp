// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <exception>
#include <memory>

#include "runtime/processes.hpp"

namespace ltx2 {

/// MPI in this process, from start to end, where mpirun or srun has started the program as one of several.
///
/// Threads   MPI is used by the thread that makes the session; where MPI itself waits for a process that never comes,
///           at its start or end, another one ends this process with an error (end_process)
/// Throws    Error when this build has no MPI
class MpiSession {
 public:
  /// Null where nobody has started several processes.
  static std::unique_ptr<MpiSession> join(std::chrono::duration<double> deadline);

  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  /// Waits for the others to come to their end; those that do not within the deadline are ended with this process.
  ~MpiSession();

  Processes& processes() noexcept { return processes_; }

  /// Whether this process is the one to print an error: of another rank all of them know, and one says it.
  bool speaks_for(const std::exception& error) const;

  /// After an error, which has been printed: the others are told of it unless they know, and have a little time to say
  /// the same. Those that do not come are ended with this process.
  void leave(const std::exception& error, int exit_code);

 private:
  explicit MpiSession(std::chrono::milliseconds deadline);

  /// How long a process that has failed waits for the others before it ends them.
  std::chrono::milliseconds patience() const;

  Processes processes_;
  bool has_left_ = false;
};

}  // namespace ltx2
