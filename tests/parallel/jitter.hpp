// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <random>
#include <thread>
#include <utility>

#include "ltxmem/parallel/message_ranks.hpp"

namespace ltxmem::test {

/// A transport whose calls come late at random: ranks meet in every order that a seed can think of.
template <MessageTransport Transport>
class Jitter {
 public:
  using Request = typename Transport::Request;

  Jitter(Transport transport, std::uint32_t seed)
      : transport_(std::move(transport)), random_(seed * 1000U + static_cast<std::uint32_t>(transport_.rank())) {}

  int rank() const noexcept { return transport_.rank(); }
  int size() const noexcept { return transport_.size(); }
  std::chrono::milliseconds deadline() const noexcept { return transport_.deadline(); }

  template <class Backend>
  Request post(Backend& backend, const RankMessages& messages) {
    dawdle();
    return transport_.post(backend, messages);
  }
  template <class Backend>
  void finish(Backend& backend, Request& request) {
    dawdle();
    transport_.finish(backend, request);
  }

 private:
  void dawdle() {
    const std::uint32_t chance = random_() % 8;
    if (chance < 2) std::this_thread::sleep_for(std::chrono::microseconds(random_() % 300));
    if (chance == 2) std::this_thread::yield();
  }

  Transport transport_;
  std::minstd_rand random_;
};

}  // namespace ltxmem::test
