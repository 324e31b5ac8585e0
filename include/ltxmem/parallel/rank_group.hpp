// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/message_ranks.hpp"

namespace ltxmem {

/// The messages of some ranks, numbered anew in the order of a list.
template <MessageTransport Transport>
class GroupTransport {
 public:
  using Request = typename Transport::Request;

  GroupTransport(Transport transport, std::vector<int> members)
      : transport_(std::move(transport)), members_(std::move(members)) {
    for (const int member : members_) {
      expects(member >= 0 && member < transport_.size(), "rank group: member ", member, " of ", transport_.size(),
              " ranks");
    }
    const auto me = std::find(members_.begin(), members_.end(), transport_.rank());
    expects(me != members_.end(), "rank group: rank ", transport_.rank(), " is no member of its group");
    rank_ = static_cast<int>(me - members_.begin());
  }

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return static_cast<int>(members_.size()); }
  std::chrono::milliseconds deadline() const noexcept { return transport_.deadline(); }

  template <class Backend>
  Request post(Backend& backend, RankMessages messages) {
    messages.to = members_[static_cast<std::size_t>(messages.to)];
    messages.from = members_[static_cast<std::size_t>(messages.from)];
    return transport_.post(backend, messages);
  }
  template <class Backend>
  void finish(Backend& backend, Request& request) {
    transport_.finish(backend, request);
  }

 private:
  Transport transport_;
  std::vector<int> members_;
  int rank_ = 0;
};

/// Some ranks of a communicator as one of their own: a row or a column of a grid of ranks. Every member makes it with
/// the same list. Messages travel as those of the larger one, and errors name its ranks; traffic counts here.
template <MessageTransport Transport>
class RankGroup : public MessageRanks<GroupTransport<Transport>> {
 public:
  RankGroup(const MessageRanks<Transport>& ranks, std::vector<int> members)
      : MessageRanks<GroupTransport<Transport>>(GroupTransport<Transport>(ranks.transport(), std::move(members))) {}
};

template <MessageTransport Transport>
RankGroup(const MessageRanks<Transport>&, std::vector<int>) -> RankGroup<Transport>;

/// The two groups of a rank when the ranks form a grid of rows of `width`: its row, and its column.
struct RankGrid {
  std::vector<int> row;
  std::vector<int> column;

  RankGrid(int rank, int ranks, int width) {
    expects(width > 0 && ranks % width == 0, "rank grid: rows of ", width, " out of ", ranks, " ranks");
    for (int i = 0; i < width; ++i) row.push_back(rank / width * width + i);
    for (int i = 0; i < ranks / width; ++i) column.push_back(i * width + rank % width);
  }
};

}  // namespace ltxmem
