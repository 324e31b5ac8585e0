// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/arena.hpp"

/// Ranks that work on one problem, each with a backend of its own, and the messages between them.
///
/// Messages are dense rows [n, W] in the memory of the rank's backend b; n may differ from rank to rank and be zero, W
/// may not. A collective is called by all ranks, in the same order. It is ordered with the work given to b: it sees
/// what was queued before it, and what is queued after it sees its results.
///
/// A Communicator c provides
///   c.rank(), c.size()                         who this is, and of how many
///   c.deadline()                               how long any wait may last
///   c.traffic()                                what this rank has sent and received so far
///   c.exchange(b, to, send, from, receive)     starts to send rows to one rank and to receive rows from another, which
///                                              may be the same or this one; gives a handle. Both leave the rows alone
///                                              until the handle was waited for. Rows sent one after another to a rank
///                                              arrive in that order
///   c.wait(b, handle)                          work queued from now on sees the received rows and may overwrite `send`
///   c.all_reduce(b, op, rows, arena)           rows = op over all ranks' rows, in the order of the ranks
///   c.reduce_scatter(b, op, rows, counts, mine, arena)
///                                              the same over [sum of counts, W]; every rank keeps its counts[rank]
///                                              rows. mine may be its part of rows
///   c.all_gather(b, mine, counts, rows)        rows = the ranks' counts[r] rows, one rank after another. mine may be
///                                              its part of rows
///   c.all_to_all(b, send, send_counts, receive, receive_counts)
///                                              send_counts[r] rows go to rank r, receive_counts[r] come from it
///   c.broadcast(b, root, rows)                 rows = those of the root
///   c.barrier(b)                               returns when every rank has come
///   c.all_reduce_workspace_bytes<T>(extents), c.reduce_scatter_workspace_bytes<T>(extents of mine)
///                                              what the reductions take from their arena
/// Reductions are computed in fp32 and rounded once; every rank receives the same bits, which depend neither on how
/// the rows are cut nor on timing. A wait that outlasts the deadline, or whose peer has failed, throws a RankError that
/// names this rank, the peer and the operation. A handle that is dropped takes its messages back.

namespace ltxmem {

enum class Reduction : std::uint8_t { sum, maximum };

/// What a rank has sent and received; rows that stay on the rank do not count.
struct Traffic {
  std::int64_t messages = 0;  ///< sent; an empty one is never sent
  std::int64_t sent_bytes = 0;
  std::int64_t received_bytes = 0;
  std::int64_t link_bytes = 0;  ///< of each exchange the longer direction: what keeps a link busy both ways
  std::int64_t collectives = 0;

  friend bool operator==(const Traffic&, const Traffic&) = default;
  friend Traffic operator-(const Traffic& a, const Traffic& b) noexcept {
    return {a.messages - b.messages, a.sent_bytes - b.sent_bytes, a.received_bytes - b.received_bytes,
            a.link_bytes - b.link_bytes, a.collectives - b.collectives};
  }
};

template <class C, class B>
concept Communicator = requires(C& c, const C& cc, B& b, int rank, Reduction op, TensorView<const float, 2> from,
                                TensorView<float, 2> into, std::span<const std::int64_t> counts, Arena& arena,
                                typename C::Handle& handle) {
  { cc.rank() } -> std::same_as<int>;
  { cc.size() } -> std::same_as<int>;
  { cc.deadline() } -> std::same_as<std::chrono::milliseconds>;
  { cc.traffic() } -> std::same_as<Traffic>;
  { c.exchange(b, rank, from, rank, into) } -> std::same_as<typename C::Handle>;
  c.wait(b, handle);
  c.all_reduce(b, op, into, arena);
  c.reduce_scatter(b, op, from, counts, into, arena);
  c.all_gather(b, from, counts, into);
  c.all_to_all(b, from, counts, into, counts);
  c.broadcast(b, rank, into);
  c.barrier(b);
  { cc.template all_reduce_workspace_bytes<float>(into.extents()) } -> std::same_as<std::size_t>;
  { cc.template reduce_scatter_workspace_bytes<float>(into.extents()) } -> std::same_as<std::size_t>;
};

/// The one rank of a program that has no other: every message is a copy to itself, or nothing at all.
///
/// Memory    none
/// Cost      no traffic
/// Stream    copies are operations of the backend
/// Throws    ShapeError for another rank than 0, or counts that do not fit the rows
class SingleRank {
 public:
  struct Handle {};

  int rank() const noexcept { return 0; }
  int size() const noexcept { return 1; }
  std::chrono::milliseconds deadline() const noexcept { return std::chrono::milliseconds::max(); }
  Traffic traffic() const noexcept { return {.collectives = collectives_}; }

  template <class Backend, class T>
  Handle exchange(Backend& backend, int to, TensorView<const T, 2> send, int from, TensorView<T, 2> receive) const {
    expects(to == 0 && from == 0, "single rank: exchange with ranks ", to, " and ", from, " of 1");
    keep(backend, send, receive);
    return {};
  }
  template <class Backend>
  void wait(Backend&, Handle&) const noexcept {}

  template <class Backend, class T>
  void all_reduce(Backend&, Reduction, TensorView<T, 2>, Arena&) noexcept {
    ++collectives_;
  }

  template <class Backend, class T>
  void reduce_scatter(Backend& backend, Reduction, TensorView<const T, 2> rows, std::span<const std::int64_t> counts,
                      TensorView<T, 2> mine, Arena&) {
    check(counts, rows.extent(0));
    keep(backend, rows, mine);
    ++collectives_;
  }

  template <class Backend, class T>
  void all_gather(Backend& backend, TensorView<const T, 2> mine, std::span<const std::int64_t> counts,
                  TensorView<T, 2> rows) {
    check(counts, mine.extent(0));
    keep(backend, mine, rows);
    ++collectives_;
  }

  template <class Backend, class T>
  void all_to_all(Backend& backend, TensorView<const T, 2> send, std::span<const std::int64_t> send_counts,
                  TensorView<T, 2> receive, std::span<const std::int64_t> receive_counts) {
    check(send_counts, send.extent(0));
    check(receive_counts, receive.extent(0));
    keep(backend, send, receive);
    ++collectives_;
  }

  template <class Backend, class T>
  void broadcast(Backend&, int root, TensorView<T, 2>) {
    expects(root == 0, "single rank: broadcast from rank ", root, " of 1");
    ++collectives_;
  }

  template <class Backend>
  void barrier(Backend&) noexcept {
    ++collectives_;
  }

  template <class T>
  std::size_t all_reduce_workspace_bytes(const Extents<2>&) const noexcept {
    return 0;
  }
  template <class T>
  std::size_t reduce_scatter_workspace_bytes(const Extents<2>&) const noexcept {
    return 0;
  }

 private:
  static void check(std::span<const std::int64_t> counts, std::int64_t rows) {
    expects(counts.size() == 1, "single rank: ", counts.size(), " counts for 1 rank");
    expects(counts[0] == rows, "single rank: count ", counts[0], " for ", rows, " rows");
  }

  /// The copy of a rank to itself; rows may already be in place.
  template <class Backend, class T>
  static void keep(Backend& backend, TensorView<const T, 2> from, TensorView<T, 2> into) {
    expects(from.extents() == into.extents(), "single rank: ", from.extent(0), " x ", from.extent(1), " sent, ",
            into.extent(0), " x ", into.extent(1), " received");
    if (from.data() != into.data()) backend.copy(from, into);
  }

  std::int64_t collectives_ = 0;
};

namespace detail {
struct CopyingBackend {
  template <class T>
  void copy(TensorView<const T, 2>, TensorView<T, 2>) {}
};
}  // namespace detail

static_assert(Communicator<SingleRank, detail::CopyingBackend>);

}  // namespace ltxmem
