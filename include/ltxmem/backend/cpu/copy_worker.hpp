// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <thread>
#include <utility>

namespace ltxmem {

/// In-order queue of copies served by a thread of its own: the CPU's stand-in for a copy engine, so that code which
/// overlaps transfers with work runs, and is race-checked, without a device.
class CopyWorker {
 public:
  CopyWorker() : thread_([this] { serve(); }) {}
  CopyWorker(const CopyWorker&) = delete;
  CopyWorker& operator=(const CopyWorker&) = delete;
  ~CopyWorker() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  /// Ticket of the queued copy; tickets complete in order.
  std::uint64_t push(std::function<void()> copy) {
    std::uint64_t ticket = 0;
    {
      const std::lock_guard lock(mutex_);
      queue_.push(std::move(copy));
      ticket = ++pushed_;
    }
    wake_.notify_one();
    return ticket;
  }

  void wait(std::uint64_t ticket) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return finished_ >= ticket; });
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::function<void()> copy = std::move(queue_.front());
      queue_.pop();
      lock.unlock();
      copy();
      lock.lock();
      ++finished_;
      done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::queue<std::function<void()>> queue_;
  std::uint64_t pushed_ = 0;
  std::uint64_t finished_ = 0;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace ltxmem
