// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include <nccl.h>

#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "ltxmem/backend/cuda/cuda_stream.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/message_ranks.hpp"

/// Ranks with a CUDA device each, on one machine or many, under NCCL.

namespace ltxmem {

class NcclError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

/// wait(operation, peer, has_happened) returns once has_happened(), which it asks again and again, or throws.
using NcclWait = std::function<void(RankOperation operation, int peer, const std::function<bool()>& has_happened)>;

struct NcclOptions {
  std::chrono::milliseconds deadline = std::chrono::seconds(60);  ///< of every wait, and of the meeting of the ranks
  /// How to wait, instead of until the deadline: HostTransport::watch of ranks that can also reach each other
  /// otherwise.
  NcclWait wait{};
};

/// Messages of one NCCL communicator, on a stream of their own that starts each after the work already given to the
/// backend.
///
/// The communicator does not block: whatever is under way is asked for until the deadline, after which it is aborted.
/// By itself it does not know who waits for whom, so the peer is blamed.
class NcclTransport {
 public:
  /// One that goes unfinished stays under way; its rows should not go before the transport.
  class Request {
   public:
    Request() = default;

   private:
    friend class NcclTransport;
    std::optional<CudaEvent> done_;
    RankOperation operation_ = RankOperation::exchange;
    int peer_ = 0;
  };

  /// All ranks call this with the id that one of them got from ncclGetUniqueId, each with its device current.
  NcclTransport(const ncclUniqueId& id, int rank, int size, NcclOptions options)
      : state_(make_state(rank, size, std::move(options))) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    check(ncclCommInitRankConfig(&state_->comm, size, id, rank, &config), "ncclCommInitRankConfig");
    settle(RankOperation::barrier, (rank + 1) % size);
  }

  /// From now on, see NcclOptions::wait.
  void wait_by(NcclWait wait) { state_->wait = std::move(wait); }

  int rank() const noexcept { return state_->rank; }
  int size() const noexcept { return state_->size; }
  std::chrono::milliseconds deadline() const noexcept { return state_->deadline; }

  template <class Backend>
  Request post(Backend& backend, const RankMessages& messages) const {
    // A barrier's token is no row of a device.
    const bool is_token = messages.operation == RankOperation::barrier;
    auto* const token = static_cast<std::byte*>(state_->token);
    const void* const send = is_token ? token : messages.send.data();
    void* const receive = is_token ? token + 1 : messages.receive.data();
    const CudaEvent given;
    cuda::check("cudaEventRecord", cudaEventRecord(given.native(), static_cast<cudaStream_t>(backend.stream().native)));
    state_->stream.wait(given);
    check(ncclGroupStart(), "ncclGroupStart");
    if (!messages.send.empty()) {
      check(ncclSend(send, messages.send.size(), ncclInt8, messages.to, state_->comm, state_->stream.native()),
            "ncclSend");
    }
    if (!messages.receive.empty()) {
      check(ncclRecv(receive, messages.receive.size(), ncclInt8, messages.from, state_->comm, state_->stream.native()),
            "ncclRecv");
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
    Request request;
    request.operation_ = messages.operation;
    request.peer_ = messages.receive.empty() ? messages.to : messages.from;
    settle(request.operation_, request.peer_);
    request.done_.emplace();
    state_->stream.record(*request.done_);
    return request;
  }

  template <class Backend>
  void finish(Backend&, Request& request) const {
    if (!request.done_) return;
    await(request.operation_, request.peer_, [&] {
      if (request.done_->has_happened()) return true;
      static_cast<void>(is_settled(request.operation_, request.peer_));  // a failure ends the wait
      return false;
    });
    request.done_.reset();
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct State {
    State(int own_rank, int ranks, NcclOptions options)
        : rank(own_rank), size(ranks), deadline(options.deadline), wait(std::move(options.wait)), memory(stream.ref()) {
      token = memory.allocate(2, buffer_alignment);
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
      if (comm != nullptr) static_cast<void>(ncclCommAbort(comm));  // waits for nobody, unlike ncclCommDestroy
      memory.deallocate(token, 2, buffer_alignment);
    }

    int rank;
    int size;
    std::chrono::milliseconds deadline;
    NcclWait wait;
    CudaStream stream;
    CudaResource memory;
    void* token = nullptr;  ///< sent and received by a barrier
    ncclComm_t comm = nullptr;
  };

  static std::unique_ptr<State> make_state(int rank, int size, NcclOptions options) {
    expects(size >= 1 && rank >= 0 && rank < size, "nccl communicator: rank ", rank, " of ", size);
    return std::make_unique<State>(rank, size, std::move(options));
  }

  void check(ncclResult_t status, const char* call) const {
    if (status == ncclSuccess || status == ncclInProgress) return;
    throw NcclError(std::string(call) + ": " + ncclGetErrorString(status) + " (" + ncclGetLastError(state_->comm) +
                    ")");
  }

  [[noreturn]] void fail(RankOperation operation, int peer, const std::string& reason) const {
    throw RankError(peer, "rank " + std::to_string(rank()) + ": " + rank_operation_name(operation) + " with rank " +
                              std::to_string(peer) + ": " + reason);
  }

  /// Returns once has_happened(); a wait that ends otherwise ends the communicator.
  template <class HasHappened>
  void await(RankOperation operation, int peer, const HasHappened& has_happened) const {
    try {
      if (state_->wait) return state_->wait(operation, peer, has_happened);
      const auto began = Clock::now();
      while (!has_happened()) {
        if (Clock::now() - began >= state_->deadline) {
          fail(operation, peer, "did not come within " + std::to_string(state_->deadline.count()) + " ms");
        }
        std::this_thread::yield();
      }
    } catch (...) {
      static_cast<void>(ncclCommAbort(state_->comm));
      state_->comm = nullptr;
      throw;
    }
  }

  /// Whether the call before, which does not block, has taken effect.
  bool is_settled(RankOperation operation, int peer) const {
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(state_->comm, &state), "ncclCommGetAsyncError");
    if (state != ncclSuccess && state != ncclInProgress) fail(operation, peer, ncclGetErrorString(state));
    return state == ncclSuccess;
  }
  void settle(RankOperation operation, int peer) const {
    await(operation, peer, [&] { return is_settled(operation, peer); });
  }

  std::unique_ptr<State> state_;
};

/// One of the ranks of an NCCL job. Its thread alone uses the communicator, with its device current.
///
/// Memory    256 bytes of the device, and what NCCL keeps for itself; rows are sent from and received into where they
///           are, in the device's memory. Between devices of one process NCCL reads them from the other device, which
///           does not reach memory of a CudaResource: NCCL_P2P_DIRECT_DISABLE=1 in the environment has it copy them
/// Stream    a message starts after the work given to the backend; wait blocks the calling thread until it has arrived,
///           because only that can keep a deadline
/// Throws    RankError when a rank failed or stalled, after which the communicator is of no use; NcclError; CudaError
class NcclCommunicator : public MessageRanks<NcclTransport> {
 public:
  NcclCommunicator(const ncclUniqueId& id, int rank, int size, NcclOptions options = {})
      : MessageRanks(NcclTransport(id, rank, size, std::move(options))) {}
};

}  // namespace ltxmem
