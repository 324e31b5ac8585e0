// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "ltxmem/core/stream.hpp"
#include "ltxmem/parallel/any_transport.hpp"
#include "ltxmem/parallel/message_ranks.hpp"
#include "runtime/card_backend.hpp"

namespace ltx2 {

/// Messages between the memories of cards as the library ltx2_nccl has them: ltxmem::NcclTransport behind one type.
///
/// Threads   that of the rank, with its card current
/// Throws    NcclError, CudaError, and what the wait throws; after that it is of no use
class CardMessages {
 public:
  /// A message under way.
  struct Pending {
    Pending() = default;
    Pending(const Pending&) = delete;
    Pending& operator=(const Pending&) = delete;
    virtual ~Pending() = default;
  };
  /// How a rank waits for another: returns once has_happened(), or throws.
  using Wait =
      std::function<void(ltxmem::RankOperation operation, int peer, const std::function<bool()>& has_happened)>;
  /// What ranks that talk to each other have in common.
  using Id = std::array<std::byte, 128>;

  CardMessages() = default;
  CardMessages(const CardMessages&) = delete;
  CardMessages& operator=(const CardMessages&) = delete;
  virtual ~CardMessages() = default;

  virtual void wait_by(Wait wait) = 0;
  /// After the work queued on the stream; see MessageTransport.
  virtual std::unique_ptr<Pending> post(ltxmem::StreamRef stream, const ltxmem::RankMessages& messages) = 0;
  virtual void finish(Pending& pending) = 0;
};

/// Throws ShapeError in a build without NCCL, DeviceError where NCCL is not found.
void expect_nccl();

/// To wait for ranks as their meeting does.
CardMessages::Wait wait_as(const ltxmem::AnyTransport& meeting);

/// The messages of a rank whose card is current in the calling thread. All ranks come here, and wait for each other as
/// their meeting does.
std::unique_ptr<CardMessages> join_cards(const ltxmem::AnyTransport& meeting);

/// A rank with a card: rows go from card to card, while the ranks, threads or processes, also meet as such, which is
/// how they know who failed and who keeps all others waiting.
class CardTransport {
 public:
  using Request = std::unique_ptr<CardMessages::Pending>;

  /// messages: null for one rank alone.
  CardTransport(ltxmem::AnyTransport meeting, CardMessages* messages)
      : meeting_(std::move(meeting)), messages_(messages) {}

  int rank() const noexcept { return meeting_.rank(); }
  int size() const noexcept { return meeting_.size(); }
  std::chrono::milliseconds deadline() const noexcept { return meeting_.deadline(); }

  Request post(CardBackend& backend, const ltxmem::RankMessages& messages) const {
    return messages_->post(backend.stream(), messages);
  }
  void finish(CardBackend&, Request& request) const {
    if (request) messages_->finish(*request);
    request.reset();
  }

 private:
  ltxmem::AnyTransport meeting_;
  CardMessages* messages_;
};

static_assert(ltxmem::Communicator<ltxmem::MessageRanks<CardTransport>, CardBackend>);

}  // namespace ltx2
