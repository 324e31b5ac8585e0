// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <csignal>
#include <functional>
#include <stop_token>
#include <thread>

namespace ltx2 {

/// Turns SIGINT, SIGTERM and SIGHUP into a stop request while it lives; at most one of them at a time.
///
/// First signal: the stop request, after which the work is expected to end by itself within a second. Second:
/// registered temporaries are removed, their writers killed (Cleanup), and the process ends at once with exit code 130.
/// Third: it ends without even that. Signals that were ignored from the start (nohup) stay ignored.
///
/// The handler itself only writes to a pipe; a thread of its own does the rest.
/// Throws    ltxmem::Error when there is one already or the system has no pipe left
class Interrupt {
 public:
  /// on_stop is called once, on the watching thread, when the first signal arrives: to tell people.
  explicit Interrupt(std::function<void()> on_stop = {});
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  ~Interrupt();

  std::stop_token token() const noexcept { return stop_.get_token(); }
  bool requested() const noexcept { return stop_.stop_requested(); }

 private:
  static constexpr std::array<int, 3> signals{SIGINT, SIGTERM, SIGHUP};

  void watch(const std::function<void()>& on_stop);

  std::stop_source stop_;
  std::array<int, 2> pipe_{-1, -1};
  std::array<struct sigaction, signals.size()> old_actions_{};
  std::jthread watcher_;
};

}  // namespace ltx2
