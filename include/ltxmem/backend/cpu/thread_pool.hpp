// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"

namespace ltxmem {

/// Fixed team of threads that work through numbered items; the calling thread is one of them.
///
/// Items are handed out by an atomic counter, so which thread runs an item varies and what an item computes must not
/// depend on it. One parallel_for at a time. A fired stop token makes parallel_for skip what is left and throw
/// Cancelled; an exception of an item does the same and is rethrown.
class ThreadPool {
 public:
  explicit ThreadPool(int threads, std::stop_token stop = {}) : stop_(std::move(stop)) {
    expects(threads >= 1, "thread pool: ", threads, " threads, expected at least 1");
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { serve(worker); });
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }
  bool stop_requested() const noexcept { return stop_.stop_requested(); }

  /// Calls fn(item, worker) for every item in [0, items); worker is in [0, threads()) and no two calls with the same
  /// worker overlap. Throws Cancelled, or what an item threw.
  template <class Fn>
  void parallel_for(std::int64_t items, Fn&& fn) {
    if (stop_.stop_requested()) throw Cancelled();
    next_ = 0;
    items_ = items;
    error_ = nullptr;
    context_ = const_cast<void*>(static_cast<const void*>(&fn));
    call_ = [](void* context, std::int64_t item, int worker) {
      (*static_cast<std::remove_reference_t<Fn>*>(context))(item, worker);
    };
    if (items > 1 && !workers_.empty()) {
      {
        const std::lock_guard lock(mutex_);
        ++generation_;
        busy_ = static_cast<int>(workers_.size());
      }
      wake_.notify_all();
      drain(0);
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return busy_ == 0; });
    } else {
      drain(0);
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    if (stop_.stop_requested()) throw Cancelled();
  }

 private:
  void drain(int worker) {
    try {
      for (std::int64_t item = next_++; item < items_; item = next_++) {
        if (stop_.stop_requested()) return;
        call_(context_, item, worker);
      }
    } catch (...) {
      next_ = items_;
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  void serve(int worker) {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return closing_ || generation_ != seen; });
        if (closing_) return;
        seen = generation_;
      }
      drain(worker);
      const std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::stop_token stop_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::uint64_t generation_ = 0;
  int busy_ = 0;
  bool closing_ = false;
  std::atomic<std::int64_t> next_ = 0;
  std::int64_t items_ = 0;
  void* context_ = nullptr;
  void (*call_)(void*, std::int64_t, int) = nullptr;
  std::exception_ptr error_;
};

}  // namespace ltxmem
