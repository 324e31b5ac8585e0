// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/parallel/communicator.hpp"

namespace ltxmem {

/// What a message belongs to: named in errors, and compared between sender and receiver.
enum class RankOperation : std::uint8_t {
  exchange,
  all_reduce,
  reduce_scatter,
  all_gather,
  all_to_all,
  broadcast,
  barrier,
};

constexpr const char* rank_operation_name(RankOperation operation) noexcept {
  switch (operation) {
    case RankOperation::exchange: return "exchange";
    case RankOperation::all_reduce: return "all_reduce";
    case RankOperation::reduce_scatter: return "reduce_scatter";
    case RankOperation::all_gather: return "all_gather";
    case RankOperation::all_to_all: return "all_to_all";
    case RankOperation::broadcast: return "broadcast";
    case RankOperation::barrier: return "barrier";
  }
  return "?";
}

/// One message out and one in. An empty one is neither sent nor awaited.
struct RankMessages {
  RankOperation operation = RankOperation::exchange;
  int to = 0;
  std::span<const std::byte> send{};
  int from = 0;
  std::span<std::byte> receive{};
};

/// How bytes get to another rank. A MessageTransport t provides
///   t.rank(), t.size(), t.deadline()
///   t.post(b, messages) -> Request      starts both; messages of a pair of ranks arrive in the order they were sent
///   t.finish(b, request)                both have been done; throws RankError after the deadline
/// Request is movable. One that goes before it was finished takes back what can be taken back.
template <class T>
concept MessageTransport = std::movable<typename T::Request> && requires(const T& transport) {
  { transport.rank() } -> std::same_as<int>;
  { transport.size() } -> std::same_as<int>;
  { transport.deadline() } -> std::same_as<std::chrono::milliseconds>;
};

namespace detail {

/// into[i] = op over all ranks' values, in the order of the ranks, whoever adds them up.
template <class T>
struct ReduceRanks {
  const T* mine;
  const T* others;  ///< [ranks - 1, count]: the other ranks' values in their order
  T* into;
  std::int64_t count;
  int rank;
  int ranks;
  Reduction op;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const auto value = [&](int from) {
      if (from == rank) return static_cast<float>(mine[i]);
      return static_cast<float>(others[(from < rank ? from : from - 1) * count + i]);
    };
    float result = value(0);
    for (int from = 1; from < ranks; ++from) {
      result = op == Reduction::sum ? result + value(from) : std::max(result, value(from));
    }
    into[i] = static_cast<T>(result);
  }
};

}  // namespace detail

/// A communicator made of nothing but messages between two ranks: the collectives are written once, for every transport
/// and for the dry run, and no rank ever holds more than its own part of somebody else's rows.
///
/// With R ranks, this one r, B the bytes of all rows, b those of a rank, and b' of r its part of the elements (floor((r
/// + 1) n / R) - floor(r n / R) of n), a rank sends (and, where nothing else is said, receives as much)
///
///   all_reduce       B - b' + (R - 1) b'    everybody's part to its owner, the reduced part to everybody
///   reduce_scatter   B - b                  receives (R - 1) b
///   all_gather       (R - 1) b              receives B - b
///   all_to_all       B - what stays         receives the same of its own rows
///   broadcast        B to every rank v + 2^k < R with 2^k > v, v = (r - root) mod R; in all (R - 1) B
///   barrier          ceil(log2 R) messages of one byte
///
/// Memory    reductions: (R - 1) times the reduced part, rounded up to the arena's alignment; a few words per rank
///           besides
/// Numerics  fp32 sums in the order of the ranks, rounded once
/// Throws    ShapeError, OutOfMemory, RankError
template <MessageTransport Transport>
class MessageRanks {
 public:
  using Handle = typename Transport::Request;

  explicit MessageRanks(Transport transport) : transport_(std::move(transport)) {}

  int rank() const noexcept { return transport_.rank(); }
  int size() const noexcept { return transport_.size(); }
  std::chrono::milliseconds deadline() const noexcept { return transport_.deadline(); }
  Traffic traffic() const noexcept { return traffic_; }
  const Transport& transport() const noexcept { return transport_; }

  template <class Backend, class T>
  Handle exchange(Backend& backend, int to, TensorView<const T, 2> send, int from, TensorView<T, 2> receive) {
    expects_rank(to, "exchange");
    expects_rank(from, "exchange");
    if (to == rank() || from == rank()) {
      expects(to == from, "exchange: rank ", rank(), " sends to ", to, " and receives from ", from,
              ", expected itself on both sides or on none");
      keep(backend, RankOperation::exchange, send, receive);
      return Handle();
    }
    return post(backend, {RankOperation::exchange, to, bytes_of(send), from, bytes_of(receive)});
  }

  template <class Backend>
  void wait(Backend& backend, Handle& handle) {
    transport_.finish(backend, handle);
  }

  template <HasForEach Backend, class T>
  void all_reduce(Backend& backend, Reduction op, TensorView<T, 2> rows, Arena& arena) {
    constexpr auto operation = RankOperation::all_reduce;
    ++traffic_.collectives;
    const std::span<std::byte> whole = bytes_of(rows);
    const std::int64_t elements = rows.size();
    const auto part = [&](int owner) {
      const std::int64_t begin = part_begin(elements, owner);
      return TensorView<T, 2>(rows.data() + begin, {1, part_begin(elements, owner + 1) - begin});
    };
    if (size() == 1 || whole.empty()) return;
    reduce_parts<T>(
        backend, operation, op, [&](int owner) { return TensorView<const T, 2>(part(owner)); }, part(rank()), arena);
    each_other(backend, [&](int to, int from) {
      return post(backend, {operation, to, bytes_of(TensorView<const T, 2>(part(rank()))), from, bytes_of(part(from))});
    });
  }

  template <HasForEach Backend, class T>
  void reduce_scatter(Backend& backend, Reduction op, TensorView<const T, 2> rows, std::span<const std::int64_t> counts,
                      TensorView<T, 2> mine, Arena& arena) {
    const std::vector<std::int64_t> begins = begins_of("reduce_scatter", counts, rows.extent(0));
    expects(mine.extents() == Extents<2>{counts[index(rank())], rows.extent(1)}, "reduce_scatter: rank ", rank(),
            " keeps ", mine.extent(0), " x ", mine.extent(1), ", expected ", counts[index(rank())], " x ",
            rows.extent(1));
    ++traffic_.collectives;
    reduce_parts<T>(
        backend, RankOperation::reduce_scatter, op,
        [&](int owner) { return rows.rows(begins[index(owner)], counts[index(owner)]); }, mine, arena);
  }

  template <class Backend, class T>
  void all_gather(Backend& backend, TensorView<const T, 2> mine, std::span<const std::int64_t> counts,
                  TensorView<T, 2> rows) {
    const std::vector<std::int64_t> begins = begins_of("all_gather", counts, rows.extent(0));
    ++traffic_.collectives;
    const auto part = [&](int owner) { return rows.rows(begins[index(owner)], counts[index(owner)]); };
    keep(backend, RankOperation::all_gather, mine, part(rank()));
    each_other(backend, [&](int to, int from) {
      return post(backend, {RankOperation::all_gather, to, bytes_of(mine), from, bytes_of(part(from))});
    });
  }

  template <class Backend, class T>
  void all_to_all(Backend& backend, TensorView<const T, 2> send, std::span<const std::int64_t> send_counts,
                  TensorView<T, 2> receive, std::span<const std::int64_t> receive_counts) {
    const std::vector<std::int64_t> out = begins_of("all_to_all", send_counts, send.extent(0));
    const std::vector<std::int64_t> in = begins_of("all_to_all", receive_counts, receive.extent(0));
    expects(send.extent(1) == receive.extent(1), "all_to_all: rows of ", send.extent(1), " sent, of ",
            receive.extent(1), " received");
    ++traffic_.collectives;
    const auto outgoing = [&](int to) { return send.rows(out[index(to)], send_counts[index(to)]); };
    const auto incoming = [&](int from) { return receive.rows(in[index(from)], receive_counts[index(from)]); };
    keep(backend, RankOperation::all_to_all, outgoing(rank()), incoming(rank()));
    each_other(backend, [&](int to, int from) {
      return post(backend, {RankOperation::all_to_all, to, bytes_of(outgoing(to)), from, bytes_of(incoming(from))});
    });
  }

  /// A binomial tree: in round k the 2^k ranks that have the rows each send them on.
  template <class Backend, class T>
  void broadcast(Backend& backend, int root, TensorView<T, 2> rows) {
    expects_rank(root, "broadcast");
    ++traffic_.collectives;
    const int from_root = (rank() - root + size()) % size();
    for (int reached = 1; reached < size(); reached *= 2) {
      RankMessages messages{RankOperation::broadcast, rank(), {}, rank(), {}};
      if (from_root < reached && from_root + reached < size()) {
        messages.to = (rank() + reached) % size();
        messages.send = bytes_of(TensorView<const T, 2>(rows));
      } else if (from_root >= reached && from_root < 2 * reached) {
        messages.from = (rank() - reached + size()) % size();
        messages.receive = bytes_of(rows);
      } else {
        continue;
      }
      Handle handle = post(backend, messages);
      wait(backend, handle);
    }
  }

  /// Round k hears from the rank 2^k before: after the last, everybody has heard of everybody.
  template <class Backend>
  void barrier(Backend& backend) {
    ++traffic_.collectives;
    std::array<std::byte, 2> token{};
    for (int distance = 1; distance < size(); distance *= 2) {
      Handle handle = post(
          backend, {RankOperation::barrier, (rank() + distance) % size(), std::span<const std::byte>(token).first(1),
                    (rank() - distance + size()) % size(), std::span<std::byte>(token).last(1)});
      wait(backend, handle);
    }
  }

  template <class T>
  std::size_t all_reduce_workspace_bytes(const Extents<2>& extents) const {
    const std::int64_t elements = element_count(extents);
    return reduction_bytes<T>(part_begin(elements, rank() + 1) - part_begin(elements, rank()));
  }
  template <class T>
  std::size_t reduce_scatter_workspace_bytes(const Extents<2>& mine) const {
    return reduction_bytes<T>(element_count(mine));
  }

 private:
  static std::size_t index(int rank) noexcept { return static_cast<std::size_t>(rank); }

  std::int64_t part_begin(std::int64_t elements, int owner) const noexcept {
    return elements / size() * owner + elements % size() * owner / size();
  }

  template <class T>
  std::size_t reduction_bytes(std::int64_t part) const {
    return size() == 1 ? 0 : aligned_bytes(byte_count<T>(Extents<2>{size() - 1, part}));
  }

  void expects_rank(int other, const char* what) const {
    expects(other >= 0 && other < size(), what, ": rank ", other, " of ", size());
  }

  std::vector<std::int64_t> begins_of(const char* what, std::span<const std::int64_t> counts, std::int64_t rows) const {
    expects(counts.size() == index(size()), what, ": ", counts.size(), " counts for ", size(), " ranks");
    std::vector<std::int64_t> begins(counts.size());
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      expects(counts[i] >= 0, what, ": count ", counts[i], " of rank ", i);
      begins[i] = sum;
      sum += counts[i];
    }
    expects(sum == rows, what, ": counts of ", sum, " rows in all for ", rows);
    return begins;
  }

  template <class T>
  static auto bytes_of(TensorView<T, 2> rows) {
    using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
    expects(rows.is_dense(), "communicator: rows of a message are not dense");
    const auto bytes = static_cast<std::size_t>(rows.size()) * sizeof(T);
    return std::span<Byte>(reinterpret_cast<Byte*>(rows.data()), bytes);
  }

  /// The copy of a rank to itself; rows may already be in place.
  template <class Backend, class T>
  static void keep(Backend& backend, RankOperation operation, TensorView<const T, 2> from, TensorView<T, 2> into) {
    expects(from.extents() == into.extents(), rank_operation_name(operation), ": ", from.extent(0), " x ",
            from.extent(1), " stay, ", into.extent(0), " x ", into.extent(1), " expected");
    if (from.data() != into.data() && !from.empty()) backend.copy(from, into);
  }

  template <class Backend>
  Handle post(Backend& backend, const RankMessages& messages) {
    const auto sent = static_cast<std::int64_t>(messages.send.size());
    const auto received = static_cast<std::int64_t>(messages.receive.size());
    if (sent == 0 && received == 0) return Handle();
    traffic_.messages += sent > 0 ? 1 : 0;
    traffic_.sent_bytes += sent;
    traffic_.received_bytes += received;
    traffic_.link_bytes += std::max(sent, received);
    return transport_.post(backend, messages);
  }

  /// start(to, from) for every other rank, all under way before the first is waited for.
  template <class Backend, class Start>
  void each_other(Backend& backend, Start&& start) {
    std::vector<Handle> handles;
    handles.reserve(index(size()));
    for (int step = 1; step < size(); ++step) {
      handles.push_back(start((rank() + step) % size(), (rank() - step + size()) % size()));
    }
    for (Handle& handle : handles) wait(backend, handle);
  }

  /// mine = op over the ranks of their part(rank()).
  template <class T, class Backend, class Part>
  void reduce_parts(Backend& backend, RankOperation operation, Reduction op, Part&& part, TensorView<T, 2> mine,
                    Arena& arena) {
    const TensorView<const T, 2> own = part(rank());
    if (size() == 1) {
      keep(backend, operation, own, mine);
      return;
    }
    const auto scope = arena.scope();
    const auto others = arena.take<T, 2>("ranks' parts", {size() - 1, own.size()});
    each_other(backend, [&](int to, int from) {
      const auto arriving = others.rows(from < rank() ? from : from - 1, 1);
      return post(backend, {operation, to, bytes_of(part(to)), from, bytes_of(arriving)});
    });
    if (own.empty()) return;
    const auto bytes = static_cast<std::int64_t>(sizeof(T));
    backend.for_each(OperationCost{"reduce ranks", (size() - 1) * own.size(), (size() + 1) * own.size() * bytes},
                     own.size(),
                     detail::ReduceRanks<T>{own.data(), others.data(), mine.data(), own.size(), rank(), size(), op});
  }

  Transport transport_;
  Traffic traffic_;
};

}  // namespace ltxmem
