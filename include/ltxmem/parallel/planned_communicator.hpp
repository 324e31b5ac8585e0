// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/message_ranks.hpp"

namespace ltxmem {

/// A backend that notes messages instead of sending them: a dry run.
///
/// b.message(operation, sent_bytes, received_bytes) -> Event: one exchange; b.wait(event) as for copies.
template <class B>
concept HasMessages = requires(B& b, const char* operation, std::int64_t bytes, typename B::Event event) {
  { b.message(operation, bytes, bytes) } -> std::same_as<typename B::Event>;
  b.wait(event);
};

/// Messages of a dry run: recorded by the backend, so that a replay can price them, and never sent.
class PlannedTransport {
 public:
  struct Request {
    std::uint32_t entry = ~std::uint32_t{0};
  };

  PlannedTransport(int rank, int size) : rank_(rank), size_(size) {
    expects(size >= 1 && rank >= 0 && rank < size, "planned communicator: rank ", rank, " of ", size);
  }

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  std::chrono::milliseconds deadline() const noexcept { return std::chrono::milliseconds::max(); }

  template <HasMessages Backend>
  Request post(Backend& backend, const RankMessages& messages) const {
    return {backend
                .message(rank_operation_name(messages.operation), static_cast<std::int64_t>(messages.send.size()),
                         static_cast<std::int64_t>(messages.receive.size()))
                .entry};
  }
  template <HasMessages Backend>
  void finish(Backend& backend, Request& request) const {
    backend.wait(typename Backend::Event{request.entry});
  }

 private:
  int rank_;
  int size_;
};

/// Any one of any number of ranks, alone in a dry run: its program sees the peak, the traffic and the number of
/// collectives that this rank will have.
///
/// Cost      nothing is sent; Traffic counts the turns that the dry run played, the backend's record all of them
class PlannedCommunicator : public MessageRanks<PlannedTransport> {
 public:
  PlannedCommunicator(int rank, int size) : MessageRanks(PlannedTransport(rank, size)) {}
};

}  // namespace ltxmem
