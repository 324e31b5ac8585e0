// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/shape.hpp"
#include "ltxmem/core/shares.hpp"

namespace ltxmem {

/// Consecutive positions of a sequence.
struct Segment {
  std::int64_t begin = 0;
  std::int64_t count = 0;

  std::int64_t end() const noexcept { return begin + count; }
  friend bool operator==(const Segment&, const Segment&) = default;
};

/// Which part of a sequence (tokens, heads, channels) each rank holds: exact, uneven, possibly nothing.
///
/// A rank holds segments of positions; its rows are those of its segments, one after another.
///
/// Memory  two numbers per segment
/// Throws  ShapeError for negative counts, weights that are negative or all zero, no rank
class Partition {
 public:
  /// Rank after rank, as many as given.
  static Partition of_counts(std::span<const std::int64_t> counts) {
    Partition partition(counts.size());
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      expects(counts[rank] >= 0, "partition: count ", counts[rank], " of rank ", rank);
      partition.give(rank, counts[rank]);
    }
    return partition;
  }

  /// Rank after rank, counts that differ by one at most.
  static Partition even(std::int64_t total, int ranks) {
    Partition partition(checked(total, ranks));
    for (int rank = 0; rank < ranks; ++rank) {
      partition.give(static_cast<std::size_t>(rank), cut(total, rank + 1, ranks) - cut(total, rank, ranks));
    }
    return partition;
  }

  /// Rank after rank, in proportion to weights of any scale; the ends are rounded, so no share is off by more than one.
  static Partition weighted(std::int64_t total, std::span<const double> weights) {
    Partition partition(checked(total, static_cast<int>(weights.size())));
    const std::vector<std::int64_t> shares = weighted_shares(total, weights);
    for (std::size_t rank = 0; rank < shares.size(); ++rank) partition.give(rank, shares[rank]);
    return partition;
  }

  /// The sequence in 2 R blocks, rank r holding blocks r and 2 R - 1 - r: under a causal mask early rows see little and
  /// late ones much, and every rank gets as much of both.
  static Partition zigzag(std::int64_t total, int ranks) {
    Partition partition(checked(total, ranks));
    for (int block = 0; block < 2 * ranks; ++block) {
      const int rank = block < ranks ? block : 2 * ranks - 1 - block;
      partition.give(static_cast<std::size_t>(rank), cut(total, block + 1, 2 * ranks) - cut(total, block, 2 * ranks));
    }
    return partition;
  }

  /// The same shares of things of which every position has so many: channels from heads, for example.
  Partition times(std::int64_t width) const {
    Partition scaled = *this;
    scaled.total_ = checked_product(total_, width);
    for (std::int64_t& count : scaled.counts_) count *= width;
    for (std::vector<Segment>& held : scaled.segments_) {
      for (Segment& segment : held) segment = {segment.begin * width, segment.count * width};
    }
    return scaled;
  }

  /// The shares of groups of so many consecutive ranks: the rows of their ranks, one rank after another.
  Partition grouped(int group) const {
    expects(group > 0 && ranks() % group == 0, "partition: groups of ", group, " out of ", ranks(), " ranks");
    Partition groups(static_cast<std::size_t>(ranks() / group));
    for (int rank = 0; rank < ranks(); ++rank) {
      for (const Segment& segment : segments(rank)) groups.add(static_cast<std::size_t>(rank / group), segment);
    }
    groups.total_ = total_;
    return groups;
  }

  int ranks() const noexcept { return static_cast<int>(counts_.size()); }
  std::int64_t total() const noexcept { return total_; }
  std::int64_t count(int rank) const { return counts_.at(static_cast<std::size_t>(rank)); }
  std::span<const std::int64_t> counts() const noexcept { return counts_; }
  std::span<const Segment> segments(int rank) const { return segments_.at(static_cast<std::size_t>(rank)); }

  /// What a rank holds when it is one segment, as with all but zigzag.
  Segment segment(int rank) const {
    const auto held = segments(rank);
    expects(held.size() <= 1, "partition: rank ", rank, " holds ", held.size(), " segments, expected one");
    return held.empty() ? Segment{} : held[0];
  }

 private:
  explicit Partition(std::size_t ranks) : counts_(ranks), segments_(ranks) {
    expects(ranks > 0, "partition: 0 ranks, expected at least 1");
  }

  static std::size_t checked(std::int64_t total, int ranks) {
    expects(total >= 0 && ranks > 0, "partition: ", total, " positions over ", ranks, " ranks");
    return static_cast<std::size_t>(ranks);
  }

  /// floor(total * part / parts) without overflow.
  static std::int64_t cut(std::int64_t total, int part, int parts) noexcept {
    return total / parts * part + total % parts * part / parts;
  }

  /// The next positions belong to this rank.
  void give(std::size_t rank, std::int64_t count) {
    add(rank, {total_, count});
    total_ += count;
  }

  void add(std::size_t rank, const Segment& segment) {
    if (segment.count == 0) return;
    std::vector<Segment>& held = segments_[rank];
    if (!held.empty() && held.back().end() == segment.begin) {
      held.back().count += segment.count;
    } else {
      held.push_back(segment);
    }
    counts_[rank] += segment.count;
  }

  std::vector<std::int64_t> counts_;
  std::vector<std::vector<Segment>> segments_;
  std::int64_t total_ = 0;
};

}  // namespace ltxmem
