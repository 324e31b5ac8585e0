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
/// Threads   MPI is used by the thread that makes the session
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

  /// After an error, which has been printed: the others are told of it unless they know, and have a little time to say
  /// the same. Those that do not come are ended with this process.
  void leave(const std::exception& error, int exit_code);

 private:
  explicit MpiSession(std::chrono::milliseconds deadline);

  Processes processes_;
  bool has_left_ = false;
};

}  // namespace ltx2
