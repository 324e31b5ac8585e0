// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/parallel/partition.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"

namespace ltxmem {
namespace {

std::vector<std::int64_t> counts_of(const Partition& partition) {
  return {partition.counts().begin(), partition.counts().end()};
}

/// Every position once.
bool covers(const Partition& partition) {
  std::vector<int> seen(static_cast<std::size_t>(partition.total()));
  for (int rank = 0; rank < partition.ranks(); ++rank) {
    std::int64_t count = 0;
    std::int64_t last = -1;
    for (const Segment& segment : partition.segments(rank)) {
      if (segment.begin <= last) return false;
      for (std::int64_t at = segment.begin; at < segment.end(); ++at) ++seen[static_cast<std::size_t>(at)];
      last = segment.end();
      count += segment.count;
    }
    if (count != partition.count(rank)) return false;
  }
  return std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; });
}

TEST_CASE("even shares differ by one at most", "[parallel]") {
  CHECK(counts_of(Partition::even(10, 4)) == std::vector<std::int64_t>{2, 3, 2, 3});
  CHECK(counts_of(Partition::even(2, 3)) == std::vector<std::int64_t>{0, 1, 1});
  for (const std::int64_t total : {0, 1, 7, 100, 101}) {
    for (const int ranks : {1, 2, 3, 7, 16}) {
      const Partition partition = Partition::even(total, ranks);
      const auto [least, most] = std::minmax_element(partition.counts().begin(), partition.counts().end());
      CHECK(*most - *least <= 1);
      CHECK(covers(partition));
    }
  }
}

TEST_CASE("weighted shares follow the weights and leave nothing over", "[parallel]") {
  CHECK(counts_of(Partition::weighted(100, std::vector<double>{2, 1, 1})) == std::vector<std::int64_t>{50, 25, 25});
  CHECK(counts_of(Partition::weighted(9, std::vector<double>{0, 1, 0})) == std::vector<std::int64_t>{0, 9, 0});
  for (const std::int64_t total : {0, 1, 17, 1000})
    CHECK(covers(Partition::weighted(total, std::vector<double>{0.3, 7, 1.1, 0.01})));
  CHECK_THROWS_AS(Partition::weighted(5, std::vector<double>{0, 0}), ShapeError);
  CHECK_THROWS_AS(Partition::weighted(5, std::vector<double>{1, -1}), ShapeError);
}

TEST_CASE("a zigzag gives every rank an early and a late block", "[parallel]") {
  const Partition partition = Partition::zigzag(12, 3);
  CHECK(std::vector<Segment>(partition.segments(0).begin(), partition.segments(0).end()) ==
        std::vector<Segment>{{0, 2}, {10, 2}});
  CHECK(partition.segment(2) == Segment{4, 4});  // blocks that touch are one segment
  for (const std::int64_t total : {0, 1, 5, 13, 256}) {
    for (const int ranks : {1, 2, 3, 7}) CHECK(covers(Partition::zigzag(total, ranks)));
  }
}

TEST_CASE("a zigzag balances the pairs under a causal mask", "[parallel]") {
  const auto pairs = [](const Partition& partition, int rank) {
    std::int64_t sum = 0;
    for (const Segment& segment : partition.segments(rank)) {
      for (std::int64_t at = segment.begin; at < segment.end(); ++at) sum += at + 1;
    }
    return sum;
  };
  const std::int64_t fair = 1600 * 1601 / 2 / 4;
  for (int rank = 0; rank < 4; ++rank) {
    CHECK(std::abs(pairs(Partition::zigzag(1600, 4), rank) - fair) <= 1);
  }
  CHECK(pairs(Partition::even(1600, 4), 3) > fair * 3 / 2);
}

TEST_CASE("shares of heads are shares of their channels", "[parallel]") {
  const Partition channels = Partition::even(5, 2).times(64);
  CHECK(counts_of(channels) == std::vector<std::int64_t>{128, 192});
  CHECK(channels.segment(1) == Segment{128, 192});
  CHECK(channels.total() == 320);
}

TEST_CASE("a group of ranks holds the rows of its ranks in their order", "[parallel]") {
  const Partition halves = Partition::even(10, 4).grouped(2);
  CHECK(counts_of(halves) == std::vector<std::int64_t>{5, 5});
  CHECK(halves.segment(1) == Segment{5, 5});
  const Partition all = Partition::zigzag(12, 3).grouped(3);
  CHECK(std::vector<Segment>(all.segments(0).begin(), all.segments(0).end()) ==
        std::vector<Segment>{{0, 2}, {10, 2}, {2, 2}, {8, 2}, {4, 4}});
  CHECK(all.total() == 12);
  CHECK_THROWS_AS(Partition::even(10, 4).grouped(3), ShapeError);
}

TEST_CASE("shares beyond 2^32 positions are exact", "[parallel]") {
  const std::int64_t total = (std::int64_t{1} << 62) + 5;
  const Partition partition = Partition::even(total, 1024);
  CHECK(partition.total() == total);
  CHECK(partition.count(0) == std::int64_t{1} << 52);
}

TEST_CASE("a partition refuses what is none", "[parallel]") {
  CHECK_THROWS_AS(Partition::of_counts(std::vector<std::int64_t>{1, -1}), ShapeError);
  CHECK_THROWS_AS(Partition::of_counts(std::vector<std::int64_t>{}), ShapeError);
  CHECK_THROWS_AS(Partition::even(3, 0), ShapeError);
  CHECK_THROWS_AS(Partition::even(-1, 2), ShapeError);
  CHECK_THROWS_AS(Partition::zigzag(8, 2).segment(0), ShapeError);
  CHECK(Partition::of_counts(std::vector<std::int64_t>{0, 3}).segment(0) == Segment{});
}

}  // namespace
}  // namespace ltxmem
