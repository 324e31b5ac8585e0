// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/message_ranks.hpp"

/// Ranks that are threads of one process.

namespace ltxmem {

struct ThreadGroupOptions {
  std::chrono::milliseconds deadline = std::chrono::seconds(60);  ///< of every wait
  std::chrono::milliseconds grace = std::chrono::seconds(10);     ///< for ranks to return after the first error
  /// What run_on_threads does about a rank that has not returned by then; it is given the error. Nothing ends a thread
  /// but the end of the process: without this, or when it comes back, the rank is waited for.
  std::function<void(const std::exception_ptr& first)> abandon{};
};

/// What the ranks of a process share: messages that wait for their other half, who waits for whom, who failed.
///
/// A message is copied once, straight from the sender's rows to the receiver's, by whichever of the two comes last. A
/// rank that waits in vain looks at whom its peer waits for, and so on, and blames the last of them.
///
/// Memory    a few words per message under way
/// Threads   any thread, any time; it must outlive every communicator of the group
class ThreadGroup {
 public:
  explicit ThreadGroup(int size, ThreadGroupOptions options = {})
      : size_(size), options_(options), waits_for_(static_cast<std::size_t>(std::max(size, 0)), nobody) {
    expects(size >= 1, "thread group: ", size, " ranks, expected at least 1");
    const auto pairs = static_cast<std::size_t>(size) * static_cast<std::size_t>(size);
    sends_.resize(pairs);
    receives_.resize(pairs);
  }
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;

  int size() const noexcept { return size_; }
  std::chrono::milliseconds deadline() const noexcept { return options_.deadline; }
  const ThreadGroupOptions& options() const noexcept { return options_; }

  /// Wakes every rank that waits, now or later, with an error that names this one. The first failure counts.
  void fail(int rank, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    note(rank, reason);
  }

  /// Bytes copied from rank to rank so far, counted where they are copied.
  std::int64_t moved_bytes() const {
    const std::lock_guard lock(mutex_);
    return moved_bytes_;
  }

 private:
  friend class ThreadTransport;
  static constexpr int nobody = -1;

  /// One end of a message.
  struct End {
    RankOperation operation;
    int peer;
    const std::byte* from;
    std::byte* to;
    std::size_t bytes;
    enum class State : std::uint8_t { waiting, moving, done } state = State::waiting;
  };
  using EndPointer = std::shared_ptr<End>;
  using Queue = std::deque<EndPointer>;
  struct Failure {
    int rank;
    std::string reason;
  };

  std::size_t pair(int from, int to) const noexcept {
    return static_cast<std::size_t>(from) * static_cast<std::size_t>(size_) + static_cast<std::size_t>(to);
  }

  void note(int rank, const std::string& reason) {
    if (!failure_) failure_ = Failure{rank, reason};
    changed_.notify_all();
  }

  [[noreturn]] void leave(int rank, RankOperation operation, int peer) const {
    throw RankError(failure_->rank, "rank " + std::to_string(rank) + ": " + rank_operation_name(operation) +
                                        " with rank " + std::to_string(peer) + ": " + failure_->reason);
  }

  /// Puts one end of a message of `rank` on the board, or copies the message when the other end is there.
  EndPointer put(int rank, End end, bool is_send) {
    auto mine = std::make_shared<End>(end);
    std::unique_lock lock(mutex_);
    if (failure_) leave(rank, end.operation, end.peer);
    const std::size_t at = is_send ? pair(rank, end.peer) : pair(end.peer, rank);
    Queue& waiting = is_send ? receives_[at] : sends_[at];
    if (waiting.empty()) {
      (is_send ? sends_[at] : receives_[at]).push_back(mine);
      return mine;
    }
    const EndPointer other = waiting.front();
    if (other->operation != mine->operation) {
      note(rank, "rank " + std::to_string(rank) + " is in " + rank_operation_name(mine->operation) + ", rank " +
                     std::to_string(end.peer) + " in " + rank_operation_name(other->operation));
      leave(rank, end.operation, end.peer);
    }
    if (other->bytes != mine->bytes) {
      const End& sent = is_send ? *mine : *other;
      const End& expected = is_send ? *other : *mine;
      note(rank, "rank " + std::to_string(is_send ? rank : end.peer) + " sent " + std::to_string(sent.bytes) +
                     " bytes, rank " + std::to_string(is_send ? end.peer : rank) + " expected " +
                     std::to_string(expected.bytes));
      leave(rank, end.operation, end.peer);
    }
    waiting.pop_front();
    mine->state = other->state = End::State::moving;
    lock.unlock();
    std::memcpy(is_send ? other->to : mine->to, is_send ? mine->from : other->from, mine->bytes);
    lock.lock();
    mine->state = other->state = End::State::done;
    moved_bytes_ += static_cast<std::int64_t>(mine->bytes);
    changed_.notify_all();
    return mine;
  }

  void await(int rank, const End& end) {
    std::unique_lock lock(mutex_);
    waits_for_[static_cast<std::size_t>(rank)] = end.peer;
    const auto is_done = [&] { return end.state == End::State::done; };
    changed_.wait_until(lock, std::chrono::steady_clock::now() + options_.deadline,
                        [&] { return is_done() || (failure_ && end.state == End::State::waiting); });
    if (end.state == End::State::moving) changed_.wait(lock, is_done);
    if (!is_done()) give_up(rank, end.operation, end.peer);
    waits_for_[static_cast<std::size_t>(rank)] = nobody;
  }

  template <class HasCome>
  void watch(int rank, RankOperation operation, int peer, HasCome&& has_come) {
    const auto until = std::chrono::steady_clock::now() + options_.deadline;
    {
      const std::lock_guard lock(mutex_);
      waits_for_[static_cast<std::size_t>(rank)] = peer;
    }
    while (!has_come()) {
      {
        const std::lock_guard lock(mutex_);
        if (failure_ || std::chrono::steady_clock::now() >= until) give_up(rank, operation, peer);
      }
      std::this_thread::yield();
    }
    const std::lock_guard lock(mutex_);
    waits_for_[static_cast<std::size_t>(rank)] = nobody;
  }

  /// Of a rank that has waited in vain: because of the failure that is known, or the rank that all wait for.
  [[noreturn]] void give_up(int rank, RankOperation operation, int peer) {
    if (!failure_) {
      const int culprit = last_awaited(rank);
      note(culprit, "rank " + std::to_string(culprit) + " did not come within " +
                        std::to_string(options_.deadline.count()) + " ms");
    }
    leave(rank, operation, peer);
  }

  /// The rank at the end of the chain of who waits for whom; when that is a ring, the first of it.
  int last_awaited(int rank) const {
    const int peer = waits_for_[static_cast<std::size_t>(rank)];
    int last = peer;
    for (int steps = 0; waits_for_[static_cast<std::size_t>(last)] != nobody; ++steps) {
      if (steps == size_) return peer;
      last = waits_for_[static_cast<std::size_t>(last)];
    }
    return last;
  }

  /// After this nobody touches the memory of that end.
  void take_back(const EndPointer& end) noexcept {
    std::unique_lock lock(mutex_);
    for (std::vector<Queue>* queues : {&sends_, &receives_}) {
      if (end->state != End::State::waiting) break;
      for (Queue& queue : *queues) std::erase(queue, end);
    }
    changed_.wait(lock, [&] { return end->state != End::State::moving; });
  }

  const int size_;
  const ThreadGroupOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Queue> sends_;     ///< by pair of ranks
  std::vector<Queue> receives_;  ///< by pair of ranks
  std::vector<int> waits_for_;   ///< by rank
  std::optional<Failure> failure_;
  std::int64_t moved_bytes_ = 0;
};

/// One rank of a ThreadGroup.
class ThreadTransport {
 public:
  /// Takes its messages back when it goes unfinished: the rows that they point to may be gone a moment later.
  class Request {
   public:
    Request() = default;
    Request(Request&&) noexcept = default;
    Request& operator=(Request&& other) noexcept {
      drop();
      group_ = other.group_;
      ends_ = std::exchange(other.ends_, {});
      return *this;
    }
    ~Request() { drop(); }

   private:
    friend class ThreadTransport;

    void drop() noexcept {
      for (const ThreadGroup::EndPointer& end : ends_) {
        if (end) group_->take_back(end);
      }
      ends_ = {};
    }

    ThreadGroup* group_ = nullptr;
    std::array<ThreadGroup::EndPointer, 2> ends_;
  };

  ThreadTransport(ThreadGroup& group, int rank) : group_(&group), rank_(rank) {
    expects(rank >= 0 && rank < group.size(), "thread communicator: rank ", rank, " of ", group.size());
  }

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return group_->size(); }
  std::chrono::milliseconds deadline() const noexcept { return group_->deadline(); }

  template <class Backend>
  Request post(Backend&, const RankMessages& messages) const {
    Request request;
    request.group_ = group_;
    const RankOperation operation = messages.operation;
    if (!messages.receive.empty()) {
      request.ends_[0] = group_->put(
          rank_, {operation, messages.from, nullptr, messages.receive.data(), messages.receive.size()}, false);
    }
    if (!messages.send.empty()) {
      request.ends_[1] =
          group_->put(rank_, {operation, messages.to, messages.send.data(), nullptr, messages.send.size()}, true);
    }
    return request;
  }

  template <class Backend>
  void finish(Backend&, Request& request) const {
    for (ThreadGroup::EndPointer& end : request.ends_) {
      if (!end) continue;
      group_->await(rank_, *end);
      end.reset();
    }
  }

  /// Waits for a message that travels by other means, until has_come(), with the deadline and the errors of messages of
  /// this group: so ranks that wait for either know of each other.
  template <class HasCome>
  void watch(RankOperation operation, int peer, HasCome&& has_come) const {
    group_->watch(rank_, operation, peer, has_come);
  }

 private:
  ThreadGroup* group_;
  int rank_;
};

/// One of several ranks that are threads of this process.
///
/// Memory    rows are copied straight from rank to rank; nothing in between
/// Throws    RankError when a rank failed or does something else, or a deadline has passed
/// Threads   used by the thread of its rank
class ThreadCommunicator : public MessageRanks<ThreadTransport> {
 public:
  ThreadCommunicator(ThreadGroup& group, int rank) : MessageRanks(ThreadTransport(group, rank)) {}
};

/// fn(rank) for every rank of the group, each in a thread of its own. What a rank throws wakes the others; the first
/// error is thrown again once all have ended; see ThreadGroupOptions::abandon for one that does not.
template <class Fn>
void run_on_threads(ThreadGroup& group, Fn&& fn) {
  std::mutex mutex;
  std::condition_variable changed;
  std::exception_ptr first;
  int running = group.size();
  const auto run = [&](int rank) {
    const auto keep_first = [&](int culprit, const std::string& reason) {
      {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
        changed.notify_one();
      }
      group.fail(culprit, reason);
    };
    try {
      fn(rank);
    } catch (const RankError& error) {
      keep_first(error.rank(), error.what());
    } catch (const std::exception& error) {
      keep_first(rank, "rank " + std::to_string(rank) + " failed: " + error.what());
    } catch (...) {
      keep_first(rank, "rank " + std::to_string(rank) + " failed");
    }
    const std::lock_guard lock(mutex);
    --running;
    changed.notify_one();
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < group.size(); ++rank) threads.emplace_back(run, rank);
  {
    std::unique_lock lock(mutex);
    const auto have_ended = [&] { return running == 0; };
    changed.wait(lock, [&] { return have_ended() || first; });
    const auto& abandon = group.options().abandon;
    if (abandon && !changed.wait_for(lock, group.options().grace, have_ended)) abandon(first);
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace ltxmem
