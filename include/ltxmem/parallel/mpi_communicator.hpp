// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/message_ranks.hpp"

/// Ranks that are processes, on one machine or many, under MPI.

namespace ltxmem {

class MpiError : public Error {
 public:
  using Error::Error;
};

struct MpiOptions {
  std::chrono::milliseconds deadline = std::chrono::seconds(60);  ///< of every wait
};

/// Messages of one communicator of MPI.
///
/// A rank that waits answers whoever asks whom it waits for. One that has waited in vain asks its peer, then whom that
/// one waits for, until somebody does not answer: that rank is blamed, and the others are told before the error is
/// thrown, so that nobody waits any longer.
class MpiTransport {
  /// One part of a message under way. MPI counts in int, so long ones travel in several parts.
  struct Part {
    MPI_Request request;
    int bytes;
    bool is_receive;
  };

 public:
  /// One that goes unfinished cancels what it was to receive; its rows should not go before the program leaves.
  class Request {
   public:
    Request() = default;
    Request(Request&& other) noexcept : parts_(std::exchange(other.parts_, {})), messages_(other.messages_) {}
    Request& operator=(Request&& other) noexcept {
      drop();
      parts_ = std::exchange(other.parts_, {});
      messages_ = other.messages_;
      return *this;
    }
    ~Request() { drop(); }

   private:
    friend class MpiTransport;

    void drop() noexcept {
      for (Part& part : parts_) {
        if (part.is_receive) MPI_Cancel(&part.request);
        MPI_Request_free(&part.request);
      }
      parts_.clear();
    }

    std::vector<Part> parts_;
    RankMessages messages_;
  };

  MpiTransport(MPI_Comm comm, MpiOptions options) : shared_(std::make_shared<Shared>()) {
    shared_->comm = comm;
    shared_->deadline = options.deadline;
    check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(comm, &shared_->rank), "MPI_Comm_rank");
    check(MPI_Comm_size(comm, &shared_->size), "MPI_Comm_size");
  }

  int rank() const noexcept { return shared_->rank; }
  int size() const noexcept { return shared_->size; }
  std::chrono::milliseconds deadline() const noexcept { return shared_->deadline; }

  template <class Backend>
  Request post(Backend&, const RankMessages& messages) const {
    leave_if_told(messages, messages.from);
    Request request;
    request.messages_ = messages;
    const int tag = static_cast<int>(messages.operation);
    each_part(messages.receive.size(), [&](std::size_t begin, int bytes) {
      request.parts_.push_back({MPI_REQUEST_NULL, bytes, true});
      check(MPI_Irecv(messages.receive.data() + begin, bytes, MPI_BYTE, messages.from, tag, shared_->comm,
                      &request.parts_.back().request),
            "MPI_Irecv");
    });
    each_part(messages.send.size(), [&](std::size_t begin, int bytes) {
      request.parts_.push_back({MPI_REQUEST_NULL, bytes, false});
      check(MPI_Isend(messages.send.data() + begin, bytes, MPI_BYTE, messages.to, tag, shared_->comm,
                      &request.parts_.back().request),
            "MPI_Isend");
    });
    return request;
  }

  template <class Backend>
  void finish(Backend&, Request& request) const {
    const auto began = Clock::now();
    const RankMessages& messages = request.messages_;
    while (!request.parts_.empty()) {
      Part& part = request.parts_.front();
      const int peer = part.is_receive ? messages.from : messages.to;
      int is_done = 0;
      MPI_Status status;
      if (MPI_Test(&part.request, &is_done, &status) != MPI_SUCCESS) {
        request.parts_.erase(request.parts_.begin());
        fail(messages, peer, peer, "rank " + std::to_string(peer) + " sent more than was expected");
      }
      if (is_done != 0) {
        const Part done = part;
        request.parts_.erase(request.parts_.begin());
        if (done.is_receive) check_length(messages, status, done.bytes);
        continue;
      }
      wait_more(messages, peer, began);
    }
  }

  /// Waits for a message that travels by other means, until has_come(), with the deadline and the errors of messages of
  /// this communicator: so ranks that wait for either know of each other.
  template <class HasCome>
  void watch(RankOperation operation, int peer, HasCome&& has_come) const {
    const auto began = Clock::now();
    while (!has_come()) wait_more({.operation = operation}, peer, began);
  }

  /// Tells the others that this rank leaves, and why: they throw a RankError that names it. For whoever catches an
  /// exception that the others cannot know of.
  void tell_failure(const std::string& reason) const {
    tell_all(rank(), "rank " + std::to_string(rank()) + " failed: " + reason);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int query_tag = 1001;
  static constexpr int answer_tag = 1002;
  static constexpr int notice_tag = 1003;
  static constexpr std::size_t largest_part = std::size_t{1} << 30;

  struct Notice {
    int culprit = 0;
    std::array<char, 252> reason{};
  };
  struct Shared {
    MPI_Comm comm = MPI_COMM_NULL;
    std::chrono::milliseconds deadline{};
    int rank = 0;
    int size = 1;
    std::list<int> small;  ///< short messages on their way: MPI reads them until they have left
    Notice sent;
    std::optional<Notice> told;
  };

  static void check(int code, const char* what) {
    if (code == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(code, text.data(), &length);
    throw MpiError(std::string(what) + ": " + text.data());
  }

  template <class Fn>
  static void each_part(std::size_t bytes, Fn&& fn) {
    for (std::size_t begin = 0; begin < bytes; begin += largest_part) {
      fn(begin, static_cast<int>(std::min(largest_part, bytes - begin)));
    }
  }

  /// Other ranks may need this processor: more so the longer the wait.
  static void pause(Clock::time_point began) {
    if (Clock::now() - began < std::chrono::milliseconds(2)) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  /// One look at what the others say, of a rank that waits for a peer.
  void wait_more(const RankMessages& messages, int peer, Clock::time_point began) const {
    leave_if_told(messages, peer);
    answer(peer);
    if (Clock::now() - began >= shared_->deadline) {
      const int culprit = last_awaited(messages, peer);
      fail(messages, peer, culprit,
           "rank " + std::to_string(culprit) + " did not come within " + std::to_string(shared_->deadline.count()) +
               " ms");
    }
    pause(began);
  }

  [[noreturn]] void leave(const RankMessages& messages, int peer, int culprit, const std::string& reason) const {
    throw RankError(culprit, "rank " + std::to_string(rank()) + ": " + rank_operation_name(messages.operation) +
                                 " with rank " + std::to_string(peer) + ": " + reason);
  }

  [[noreturn]] void fail(const RankMessages& messages, int peer, int culprit, const std::string& reason) const {
    tell_all(culprit, reason);
    leave(messages, peer, culprit, reason);
  }

  void check_length(const RankMessages& messages, const MPI_Status& status, int expected) const {
    int bytes = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
    if (bytes == expected) return;
    fail(messages, messages.from, messages.from,
         "rank " + std::to_string(messages.from) + " sent " + std::to_string(bytes) + " bytes, rank " +
             std::to_string(rank()) + " expected " + std::to_string(expected));
  }

  // ----------------------------------------------------------------------------------------------- who waits for whom

  bool take(int from, int tag, void* into, std::size_t bytes, int* sender = nullptr) const {
    int is_there = 0;
    MPI_Status status;
    check(MPI_Iprobe(from, tag, shared_->comm, &is_there, &status), "MPI_Iprobe");
    if (is_there == 0) return false;
    check(MPI_Recv(into, static_cast<int>(bytes), MPI_BYTE, status.MPI_SOURCE, tag, shared_->comm, MPI_STATUS_IGNORE),
          "MPI_Recv");
    if (sender != nullptr) *sender = status.MPI_SOURCE;
    return true;
  }

  void tell(int to, int tag, const void* what, std::size_t bytes) const {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(what, static_cast<int>(bytes), MPI_BYTE, to, tag, shared_->comm, &request), "MPI_Isend");
    MPI_Request_free(&request);
  }

  void tell_number(int to, int tag, int number) const {
    shared_->small.push_back(number);
    tell(to, tag, &shared_->small.back(), sizeof(int));
  }

  void answer(int awaited) const {
    int number = 0;
    int sender = 0;
    while (take(MPI_ANY_SOURCE, query_tag, &number, sizeof(number), &sender)) tell_number(sender, answer_tag, awaited);
  }

  /// Once told, a rank is told for good.
  void leave_if_told(const RankMessages& messages, int peer) const {
    Notice notice;
    if (!shared_->told && take(MPI_ANY_SOURCE, notice_tag, &notice, sizeof(notice))) shared_->told = notice;
    if (shared_->told) leave(messages, peer, shared_->told->culprit, shared_->told->reason.data());
  }

  void tell_all(int culprit, const std::string& reason) const {
    Notice& notice = shared_->sent;
    notice.culprit = culprit;
    const std::size_t length = std::min(reason.size(), notice.reason.size() - 1);
    std::memcpy(notice.reason.data(), reason.data(), length);
    notice.reason[length] = '\0';
    shared_->told = notice;
    for (int to = 0; to < size(); ++to) {
      if (to != rank()) tell(to, notice_tag, &notice, sizeof(notice));
    }
  }

  /// The rank at the end of the chain of who waits for whom: it does not answer. In a ring, the first of it.
  int last_awaited(const RankMessages& messages, int peer) const {
    int last = peer;
    for (int steps = 0; steps < size(); ++steps) {
      tell_number(last, query_tag, 0);
      int next = 0;
      const auto asked = Clock::now();
      const auto grace = std::max<std::chrono::milliseconds>(std::chrono::milliseconds(100), shared_->deadline / 4);
      while (!take(last, answer_tag, &next, sizeof(next))) {
        leave_if_told(messages, peer);
        answer(peer);
        if (Clock::now() - asked >= grace) return last;
        pause(asked);
      }
      if (next == rank()) return peer;
      last = next;
    }
    return peer;
  }

  std::shared_ptr<Shared> shared_;
};

/// One process of an MPI job. MPI must have been initialised and not yet finalised; this rank's thread alone uses the
/// communicator, which is borrowed and should serve nothing else.
///
/// Memory    what MPI keeps for itself; rows are sent from and received into where they are
/// Stream    for backends that work in the calling thread
/// Throws    RankError when a rank failed, stalled or sent another length than expected; MpiError
/// Threads   one; MPI_THREAD_FUNNELED where the backend has threads of its own
class MpiCommunicator : public MessageRanks<MpiTransport> {
 public:
  explicit MpiCommunicator(MPI_Comm comm, MpiOptions options = {}) : MessageRanks(MpiTransport(comm, options)) {}

  /// See MpiTransport::tell_failure.
  void tell_failure(const std::string& reason) const { transport().tell_failure(reason); }
};

}  // namespace ltxmem
