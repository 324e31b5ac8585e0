// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <utility>

#include "ltxmem/parallel/message_ranks.hpp"

namespace ltxmem {

namespace detail {
/// Stands for a backend that works in the calling thread, of which a transport needs nothing.
struct CallingThread {};
}  // namespace detail

/// A transport for rows that the calling thread reads and writes, whatever the backend: threads, MPI. Its ranks may
/// send each other messages by other means too: transport.watch(operation, peer, has_come) waits for one of those, as
/// finish does for its own.
template <class T>
concept HostTransport = MessageTransport<T> &&
    requires(const T& transport, detail::CallingThread& thread, const RankMessages& messages,
             typename T::Request& request, bool (*has_come)()) {
  { transport.post(thread, messages) } -> std::same_as<typename T::Request>;
  transport.finish(thread, request);
  transport.watch(messages.operation, messages.from, has_come);
};

/// Any HostTransport behind one type, for a program whose ranks are threads or processes as it is started. Itself one;
/// copies share the transport.
///
/// Memory    one small heap object per transport and per message under way
/// Cost      one virtual call per post and finish
class AnyTransport {
  struct Pending {
    Pending() = default;
    Pending(const Pending&) = delete;
    Pending& operator=(const Pending&) = delete;
    virtual ~Pending() = default;
  };

 public:
  class Request {
   private:
    friend class AnyTransport;
    std::unique_ptr<Pending> pending_;
  };

  template <class Transport>
  requires(!std::same_as<Transport, AnyTransport> &&
           HostTransport<Transport>) explicit AnyTransport(Transport transport)
      : transport_(std::make_shared<const Model<Transport>>(std::move(transport))) {}

  int rank() const noexcept { return transport_->rank(); }
  int size() const noexcept { return transport_->size(); }
  std::chrono::milliseconds deadline() const noexcept { return transport_->deadline(); }

  template <class Backend>
  Request post(Backend&, const RankMessages& messages) const {
    Request request;
    request.pending_ = transport_->post(messages);
    return request;
  }
  template <class Backend>
  void finish(Backend&, Request& request) const {
    if (request.pending_) transport_->finish(*request.pending_);
  }
  void watch(RankOperation operation, int peer, const std::function<bool()>& has_come) const {
    transport_->watch(operation, peer, has_come);
  }

 private:
  struct Interface {
    Interface() = default;
    Interface(const Interface&) = delete;
    Interface& operator=(const Interface&) = delete;
    virtual ~Interface() = default;
    virtual int rank() const noexcept = 0;
    virtual int size() const noexcept = 0;
    virtual std::chrono::milliseconds deadline() const noexcept = 0;
    virtual std::unique_ptr<Pending> post(const RankMessages& messages) const = 0;
    virtual void finish(Pending& pending) const = 0;
    virtual void watch(RankOperation operation, int peer, const std::function<bool()>& has_come) const = 0;
  };

  template <class Transport>
  struct Model final : Interface {
    struct Held final : Pending {
      explicit Held(typename Transport::Request held) : request(std::move(held)) {}
      typename Transport::Request request;
    };

    explicit Model(Transport held) : transport(std::move(held)) {}
    int rank() const noexcept override { return transport.rank(); }
    int size() const noexcept override { return transport.size(); }
    std::chrono::milliseconds deadline() const noexcept override { return transport.deadline(); }
    std::unique_ptr<Pending> post(const RankMessages& messages) const override {
      detail::CallingThread thread;
      return std::make_unique<Held>(transport.post(thread, messages));
    }
    void finish(Pending& pending) const override {
      detail::CallingThread thread;
      transport.finish(thread, static_cast<Held&>(pending).request);
    }
    void watch(RankOperation operation, int peer, const std::function<bool()>& has_come) const override {
      transport.watch(operation, peer, has_come);
    }

    Transport transport;
  };

  std::shared_ptr<const Interface> transport_;
};

static_assert(HostTransport<AnyTransport>);

}  // namespace ltxmem
