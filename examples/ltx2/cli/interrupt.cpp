// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "cli/exit_code.hpp"
#include "ltxmem/core/error.hpp"
#include "media/cleanup.hpp"

namespace ltx2 {
namespace {

constexpr int interrupted = static_cast<int>(ExitCode::interrupted);
constexpr char signal_mark = 's';
constexpr char end_mark = 'e';

// All that the handler may touch. -1: there is no Interrupt.
std::atomic<int> handler_pipe{-1};
std::atomic<int> signal_count{0};
static_assert(std::atomic<int>::is_always_lock_free, "signal handler: its state must be lock-free");

void send(int descriptor, char mark) {
  while (::write(descriptor, &mark, 1) < 0 && errno == EINTR) {
  }
}

extern "C" void ltx2_handle_signal(int) {
  const int saved = errno;
  if (signal_count.fetch_add(1) >= 2) ::_exit(interrupted);
  send(handler_pipe.load(), signal_mark);
  errno = saved;
}

}  // namespace

Interrupt::Interrupt(std::function<void()> on_stop) {
  if (::pipe2(pipe_.data(), O_CLOEXEC) != 0) throw ltxmem::Error("cannot watch for signals: no pipe");
  int none = -1;
  if (!handler_pipe.compare_exchange_strong(none, pipe_[1])) {
    ::close(pipe_[0]);
    ::close(pipe_[1]);
    throw ltxmem::Error("signals are watched already");
  }
  signal_count = 0;
  watcher_ = std::jthread([this, call = std::move(on_stop)] { watch(call); });
  struct sigaction action {};
  action.sa_handler = ltx2_handle_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < signals.size(); ++i) {
    ::sigaction(signals[i], nullptr, &old_actions_[i]);
    if (old_actions_[i].sa_handler != SIG_IGN) ::sigaction(signals[i], &action, nullptr);
  }
}

Interrupt::~Interrupt() {
  for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &old_actions_[i], nullptr);
  send(pipe_[1], end_mark);
  watcher_.join();
  handler_pipe = -1;
  ::close(pipe_[0]);
  ::close(pipe_[1]);
}

void Interrupt::watch(const std::function<void()>& on_stop) {
  for (;;) {
    char mark = end_mark;
    const ssize_t count = ::read(pipe_[0], &mark, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count != 1 || mark == end_mark) return;
    if (stop_.request_stop()) {
      if (on_stop) on_stop();
    } else {
      Cleanup::process().remove_everything_for_exit();
      ::_exit(interrupted);
    }
  }
}

}  // namespace ltx2
