// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "support/numbers.hpp"

/// What every communicator has to do, whatever carries its messages. A case is a function that every rank runs; it
/// throws when something is wrong, since ranks may be threads and Catch2's checks belong to one.

namespace ltxmem::test {

inline void must(bool condition, const std::string& text) {
  expects<Error>(condition, text);
}

template <class T>
struct Rows {
  Rows(std::int64_t rows, std::int64_t width) : extents{rows, width}, values(static_cast<std::size_t>(rows * width)) {}
  TensorView<T, 2> view() { return {values.data(), extents}; }
  TensorView<const T, 2> constant() const { return {values.data(), extents}; }

  Extents<2> extents;
  std::vector<T> values;
};

/// Rows that differ from rank to rank.
template <class T>
Rows<T> rows_of_rank(int rank, std::int64_t rows, std::int64_t width, std::uint32_t seed = 0) {
  Rows<T> result(rows, width);
  result.values = random_values<T>(rows * width, 100 * seed + static_cast<std::uint32_t>(rank) + 1);
  return result;
}

/// Uneven, and zero for some ranks when there are several.
inline std::vector<std::int64_t> uneven_counts(int ranks, int shift = 0) {
  std::vector<std::int64_t> counts;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::int64_t n = (rank + shift) % 4;
    counts.push_back(n == 0 ? 5 : n == 1 ? 0 : 3 * n);
  }
  return counts;
}

/// What computes on the rows that a communicator's messages carry.
template <class Ranks>
struct BackendOfRanks {
  using type = CpuBackend<>;
};

/// One collective of a few rows.
template <class Ranks>
void reduce(Ranks& ranks, std::int64_t rows = 4) {
  typename BackendOfRanks<Ranks>::type backend;
  HostResource host;
  Arena arena(host, 1 << 16);
  Rows<float> mine(rows, 2);
  ranks.all_reduce(backend, Reduction::sum, mine.view(), arena);
}

template <class T, class Ranks>
struct ConformanceCase {
  explicit ConformanceCase(Ranks& given) : ranks(given), arena(host, 1 << 20), before(given.traffic()) {}

  int rank() const { return ranks.rank(); }
  int size() const { return ranks.size(); }
  std::size_t at(int other) const { return static_cast<std::size_t>(other); }

  /// What was sent and received since the case began.
  void must_have_moved(std::int64_t sent, std::int64_t received, std::int64_t collectives) const {
    const Traffic now = ranks.traffic() - before;
    must(now.sent_bytes == sent, "sent " + std::to_string(now.sent_bytes) + ", formula " + std::to_string(sent));
    must(now.received_bytes == received,
         "received " + std::to_string(now.received_bytes) + ", formula " + std::to_string(received));
    must(now.collectives == collectives, "collectives " + std::to_string(now.collectives));
  }

  static constexpr std::int64_t width = 3;
  static constexpr std::int64_t row_bytes = width * static_cast<std::int64_t>(sizeof(T));

  typename BackendOfRanks<Ranks>::type backend;
  HostResource host;
  Ranks& ranks;
  Arena arena;
  Traffic before;
};

/// Sum or maximum over the ranks in their order, rounded once.
template <class T>
std::vector<T> reduced(int ranks, std::int64_t rows, std::int64_t width, Reduction op) {
  std::vector<float> result;
  for (int rank = 0; rank < ranks; ++rank) {
    const Rows<T> part = rows_of_rank<T>(rank, rows, width);
    for (std::size_t i = 0; i < part.values.size(); ++i) {
      const auto value = static_cast<float>(part.values[i]);
      if (rank == 0) {
        result.push_back(value);
      } else {
        result[i] = op == Reduction::sum ? result[i] + value : std::max(result[i], value);
      }
    }
  }
  std::vector<T> rounded;
  for (const float value : result) rounded.push_back(static_cast<T>(value));
  return rounded;
}

template <class T, class Ranks>
void ring_exchange_brings_rows_of_the_neighbour(Ranks& ranks) {
  ConformanceCase<T, Ranks> c(ranks);
  const auto counts = uneven_counts(c.size());
  const int to = (c.rank() + 1) % c.size();
  const int from = (c.rank() + c.size() - 1) % c.size();
  const auto mine = rows_of_rank<T>(c.rank(), counts[c.at(c.rank())], c.width);
  Rows<T> arriving(counts[c.at(from)], c.width);
  auto handle = ranks.exchange(c.backend, to, mine.constant(), from, arriving.view());
  ranks.wait(c.backend, handle);
  must(same_bits(arriving.values, rows_of_rank<T>(from, counts[c.at(from)], c.width).values), "exchange: wrong rows");
  const bool alone = c.size() == 1;
  c.must_have_moved(alone ? 0 : counts[c.at(c.rank())] * c.row_bytes, alone ? 0 : counts[c.at(from)] * c.row_bytes, 0);
}

template <class T, class Ranks>
void messages_to_one_rank_keep_their_order(Ranks& ranks) {
  ConformanceCase<T, Ranks> c(ranks);
  const int to = (c.rank() + 1) % c.size();
  const int from = (c.rank() + c.size() - 1) % c.size();
  std::vector<Rows<T>> sent;
  std::vector<Rows<T>> received;
  for (std::uint32_t i = 0; i < 5; ++i) {
    sent.push_back(rows_of_rank<T>(c.rank(), 2, c.width, i));
    received.emplace_back(2, c.width);
  }
  std::vector<typename Ranks::Handle> handles;
  for (std::size_t i = 0; i < 5; ++i) {
    handles.push_back(ranks.exchange(c.backend, to, sent[i].constant(), from, received[i].view()));
  }
  for (std::size_t i = 5; i-- > 0;) ranks.wait(c.backend, handles[i]);
  for (std::uint32_t i = 0; i < 5; ++i) {
    must(same_bits(received[i].values, rows_of_rank<T>(from, 2, c.width, i).values), "exchange: wrong order");
  }
}

template <class T, class Ranks>
void all_reduce_adds_in_the_order_of_the_ranks(Ranks& ranks) {
  for (const std::int64_t rows : {0, 1, 2, 5}) {
    for (const Reduction op : {Reduction::sum, Reduction::maximum}) {
      ConformanceCase<T, Ranks> c(ranks);
      auto mine = rows_of_rank<T>(c.rank(), rows, c.width);
      CountingResource counting(c.host);
      {
        const std::size_t bytes = ranks.template all_reduce_workspace_bytes<T>(mine.extents);
        Arena arena(counting, bytes);
        ranks.all_reduce(c.backend, op, mine.view(), arena);
        must(arena.peak_bytes() == (rows == 0 ? 0 : bytes), "all_reduce: peak differs from workspace bytes");
      }
      must(same_bits(mine.values, reduced<T>(c.size(), rows, c.width, op)), "all_reduce: wrong result");
      const std::int64_t n = rows * c.width;
      const std::int64_t part = (c.rank() + 1) * n / c.size() - c.rank() * n / c.size();
      const std::int64_t bytes = (n - part + (c.size() - 1) * part) * static_cast<std::int64_t>(sizeof(T));
      c.must_have_moved(bytes, bytes, 1);
    }
  }
}

template <class T, class Ranks>
void reduce_scatter_leaves_every_rank_its_rows(Ranks& ranks) {
  ConformanceCase<T, Ranks> c(ranks);
  const auto counts = uneven_counts(c.size(), 2);
  std::int64_t total = 0;
  std::int64_t begin = 0;
  for (int rank = 0; rank < c.size(); ++rank) {
    if (rank == c.rank()) begin = total;
    total += counts[c.at(rank)];
  }
  const std::int64_t own = counts[c.at(c.rank())];
  const auto all = rows_of_rank<T>(c.rank(), total, c.width);
  Rows<T> mine(own, c.width);
  Arena arena(c.host, ranks.template reduce_scatter_workspace_bytes<T>(mine.extents));
  ranks.reduce_scatter(c.backend, Reduction::sum, all.constant(), counts, mine.view(), arena);
  const std::vector<T> expected = reduced<T>(c.size(), total, c.width, Reduction::sum);
  const auto first = expected.begin() + begin * c.width;
  must(same_bits(mine.values, std::vector<T>(first, first + own * c.width)), "reduce_scatter: wrong rows");
  must(arena.peak_bytes() == arena.capacity_bytes(), "reduce_scatter: peak differs from workspace bytes");
  c.must_have_moved((total - own) * c.row_bytes, (c.size() - 1) * own * c.row_bytes, 1);
}

template <class T, class Ranks>
void all_gather_puts_uneven_rows_one_after_another(Ranks& ranks) {
  for (int shift = 0; shift < 3; ++shift) {
    ConformanceCase<T, Ranks> c(ranks);
    const auto counts = uneven_counts(c.size(), shift);
    std::vector<T> expected;
    for (int rank = 0; rank < c.size(); ++rank) {
      const auto part = rows_of_rank<T>(rank, counts[c.at(rank)], c.width).values;
      expected.insert(expected.end(), part.begin(), part.end());
    }
    const std::int64_t total = static_cast<std::int64_t>(expected.size()) / c.width;
    const std::int64_t own = counts[c.at(c.rank())];
    const auto mine = rows_of_rank<T>(c.rank(), own, c.width);
    Rows<T> rows(total, c.width);
    ranks.all_gather(c.backend, mine.constant(), counts, rows.view());
    must(same_bits(rows.values, expected), "all_gather: wrong rows");
    c.must_have_moved((c.size() - 1) * own * c.row_bytes, (total - own) * c.row_bytes, 1);
  }
}

template <class T, class Ranks>
void all_to_all_sends_every_rank_its_own_rows(Ranks& ranks) {
  ConformanceCase<T, Ranks> c(ranks);
  const auto rows_between = [](int from, int to) -> std::int64_t { return (2 * from + 3 * to) % 5; };
  std::vector<std::int64_t> out;
  std::vector<std::int64_t> in;
  std::vector<T> sent;
  std::vector<T> expected;
  for (int other = 0; other < c.size(); ++other) {
    const auto append = [&](std::vector<std::int64_t>& counts, std::vector<T>& values, int from, int to) {
      counts.push_back(rows_between(from, to));
      const auto rows = rows_of_rank<T>(from, counts.back(), c.width, static_cast<std::uint32_t>(to)).values;
      values.insert(values.end(), rows.begin(), rows.end());
    };
    append(out, sent, c.rank(), other);
    append(in, expected, other, c.rank());
  }
  Rows<T> received(static_cast<std::int64_t>(expected.size()) / c.width, c.width);
  ranks.all_to_all(c.backend,
                   TensorView<const T, 2>(sent.data(), {static_cast<std::int64_t>(sent.size()) / c.width, c.width}),
                   out, received.view(), in);
  must(same_bits(received.values, expected), "all_to_all: wrong rows");
  const auto bytes = [&](const std::vector<T>& values) {
    const std::int64_t own = rows_between(c.rank(), c.rank()) * c.width;
    return (static_cast<std::int64_t>(values.size()) - own) * static_cast<std::int64_t>(sizeof(T));
  };
  c.must_have_moved(bytes(sent), bytes(expected), 1);
}

template <class T, class Ranks>
void broadcast_brings_the_rows_of_any_root(Ranks& ranks) {
  for (int root = 0; root < ranks.size(); ++root) {
    ConformanceCase<T, Ranks> c(ranks);
    auto rows = rows_of_rank<T>(c.rank(), 4, c.width);
    ranks.broadcast(c.backend, root, rows.view());
    must(same_bits(rows.values, rows_of_rank<T>(root, 4, c.width).values), "broadcast: wrong rows");
    const int v = (c.rank() - root + c.size()) % c.size();
    std::int64_t receivers = 0;
    for (int reach = 1; v + reach < c.size(); reach *= 2) receivers += reach > v ? 1 : 0;
    c.must_have_moved(receivers * 4 * c.row_bytes, v == 0 ? 0 : 4 * c.row_bytes, 1);
  }
}

template <class T, class Ranks>
void a_barrier_is_a_few_tokens(Ranks& ranks) {
  ConformanceCase<T, Ranks> c(ranks);
  for (int i = 0; i < 3; ++i) ranks.barrier(c.backend);
  std::int64_t rounds = 0;
  for (int reach = 1; reach < c.size(); reach *= 2) ++rounds;
  c.must_have_moved(3 * rounds, 3 * rounds, 3);
}

template <class T, class Ranks>
void counts_that_do_not_fit_are_refused_before_anything_is_sent(Ranks& ranks) {
  ConformanceCase<T, Ranks> c(ranks);
  const auto refused = [](const auto& call) {
    try {
      call();
    } catch (const ShapeError&) {
      return;
    }
    throw Error("not refused");
  };
  Rows<T> rows(2, c.width);
  std::vector<std::int64_t> counts(c.at(c.size()), 3);
  refused([&] { ranks.all_gather(c.backend, rows.constant(), counts, rows.view()); });
  refused([&] { ranks.all_to_all(c.backend, rows.constant(), counts, rows.view(), counts); });
  refused([&] { ranks.reduce_scatter(c.backend, Reduction::sum, rows.constant(), counts, rows.view(), c.arena); });
  counts.push_back(0);
  refused([&] { ranks.all_gather(c.backend, rows.constant(), counts, rows.view()); });
  refused([&] { ranks.broadcast(c.backend, c.size(), rows.view()); });
  refused([&] { ranks.exchange(c.backend, c.size(), rows.constant(), 0, rows.view()); });
  refused([&] { ranks.exchange(c.backend, 0, rows.constant(), -1, rows.view()); });
  c.must_have_moved(0, 0, 0);
}

template <class Ranks>
struct NamedCase {
  const char* name;
  void (*run)(Ranks&);
};

template <class T, class Ranks>
std::vector<NamedCase<Ranks>> conformance_cases() {
  return {{"exchange", ring_exchange_brings_rows_of_the_neighbour<T, Ranks>},
          {"order", messages_to_one_rank_keep_their_order<T, Ranks>},
          {"all_reduce", all_reduce_adds_in_the_order_of_the_ranks<T, Ranks>},
          {"reduce_scatter", reduce_scatter_leaves_every_rank_its_rows<T, Ranks>},
          {"all_gather", all_gather_puts_uneven_rows_one_after_another<T, Ranks>},
          {"all_to_all", all_to_all_sends_every_rank_its_own_rows<T, Ranks>},
          {"broadcast", broadcast_brings_the_rows_of_any_root<T, Ranks>},
          {"barrier", a_barrier_is_a_few_tokens<T, Ranks>},
          {"refusals", counts_that_do_not_fit_are_refused_before_anything_is_sent<T, Ranks>}};
}

/// All cases, one after another; an error names the case, but for a rank's, which all ranks tell alike.
template <class T, class Ranks>
void conform(Ranks& ranks) {
  for (const auto& conformance : conformance_cases<T, Ranks>()) {
    try {
      conformance.run(ranks);
    } catch (const RankError&) {
      throw;
    } catch (const Error& error) {
      throw Error(std::string(conformance.name) + ": " + error.what());
    }
  }
}

}  // namespace ltxmem::test
