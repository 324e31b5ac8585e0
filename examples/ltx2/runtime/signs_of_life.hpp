// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/processes.hpp"

namespace ltx2 {

/// What a process that works alone lets those hear who wait for it, because its work may take longer than the deadline
/// of a wait: that it is working, any number of times, and at last that it is done. A message of one byte each.
enum class Sign : std::uint8_t { working, done };

inline void send_sign(const Processes& processes, int to, Sign sign) {
  ltxmem::detail::CallingThread thread;
  auto request = processes.transport().post(
      thread, {ltxmem::RankOperation::barrier, to, std::as_bytes(std::span(&sign, 1)), to, {}});
  processes.transport().finish(thread, request);
}

/// Throws RankError when no sign comes for the length of the deadline.
inline void wait_until_done(const Processes& processes, int other) {
  ltxmem::detail::CallingThread thread;
  Sign sign = Sign::working;
  while (sign == Sign::working) {
    auto request = processes.transport().post(
        thread, {ltxmem::RankOperation::barrier, other, {}, other, std::as_writable_bytes(std::span(&sign, 1))});
    processes.transport().finish(thread, request);
  }
}

/// The others wait here until the primary has come, however long it takes.
inline void wait_for_primary(const Processes& processes) {
  if (!processes.is_primary()) return wait_until_done(processes, 0);
  for (int other = 1; other < processes.size(); ++other) send_sign(processes, other, Sign::done);
}

/// Called at every step of a process that others may be waiting for, sends a sign four times per deadline: the primary
/// to all, another rank (the first, while an idle primary waits for its outputs) to the primary.
class SignsOfLife {
 public:
  void operator()(const Processes& processes) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < processes.deadline() / 4) return;
    last_ = now;
    if (!processes.is_primary()) return send_sign(processes, 0, Sign::working);
    for (int other = 1; other < processes.size(); ++other) send_sign(processes, other, Sign::working);
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace ltx2
