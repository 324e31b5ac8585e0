// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"

/// Weights that travel together, a layer of a model for example, and what reading them again and again costs.

namespace ltxmem {

/// One tensor of a block: its size, how it must lie, and where its bytes come from.
struct WeightPiece {
  std::size_t bytes = 0;
  std::size_t alignment = buffer_alignment;  ///< a power of two, at most buffer_alignment
  /// Writes the bytes of the tensor from begin on. Called by one thread at a time, which is not the one that made it;
  /// never in a dry run.
  std::function<void(std::size_t begin, std::span<std::byte> part)> read;
};

/// A tensor that lies in readable memory.
inline WeightPiece memory_piece(std::span<const std::byte> bytes, std::size_t alignment = buffer_alignment) {
  return {bytes.size(), alignment, [bytes](std::size_t begin, std::span<std::byte> part) {
            std::memcpy(part.data(), bytes.data() + begin, part.size());
          }};
}

/// Pieces in their order, each at the next multiple of its alignment.
class WeightBlock {
 public:
  explicit WeightBlock(std::vector<WeightPiece> pieces) : pieces_(std::move(pieces)) {
    offsets_.reserve(pieces_.size());
    for (const WeightPiece& piece : pieces_) {
      const std::size_t alignment = piece.alignment;
      expects(alignment > 0 && alignment <= buffer_alignment && (alignment & (alignment - 1)) == 0,
              "weight block: alignment ", alignment, ", expected a power of two up to ", buffer_alignment);
      offsets_.push_back((bytes_ + alignment - 1) / alignment * alignment);
      bytes_ = offsets_.back() + piece.bytes;
    }
  }

  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t pieces() const noexcept { return pieces_.size(); }
  std::size_t offset(std::size_t piece) const { return offsets_.at(piece); }

  /// The bytes of the block from begin on; what lies between pieces is left as it is.
  void read(std::size_t begin, std::span<std::byte> part) const {
    const std::size_t end = begin + part.size();
    // From the last piece that starts at or before begin.
    auto first = std::upper_bound(offsets_.begin(), offsets_.end(), begin);
    if (first != offsets_.begin()) --first;
    for (auto i = static_cast<std::size_t>(first - offsets_.begin()); i < pieces_.size() && offsets_[i] < end; ++i) {
      const std::size_t from = std::max(begin, offsets_[i]);
      const std::size_t to = std::min(end, offsets_[i] + pieces_[i].bytes);
      if (from < to) pieces_[i].read(from - offsets_[i], part.subspan(from - begin, to - from));
    }
  }

 private:
  std::vector<WeightPiece> pieces_;
  std::vector<std::size_t> offsets_;
  std::size_t bytes_ = 0;
};

/// What passes over blocks larger than the memory left for the page cache read from the disk.
struct PageCachePlan {
  std::int64_t cached_blocks = 0;        ///< first blocks that stay in the cache; the others are dropped after use
  std::size_t first_pass_bytes = 0;      ///< read from the disk by the first pass, the cache being empty
  std::size_t bytes_per_later_pass = 0;  ///< and by every later one

  /// Read from the disk by so many passes.
  std::size_t disk_bytes(std::int64_t passes) const noexcept {
    return passes > 0 ? first_pass_bytes + static_cast<std::size_t>(passes - 1) * bytes_per_later_pass : 0;
  }
};

/// Plans passes over streamed blocks of these sizes on a host that has so many bytes left for the page cache.
///
/// A cache that drops the least recently used pages forgets every block just before a pass comes to it again, so it
/// saves nothing unless everything fits. Dropping the same blocks after every use lets the others stay.
inline PageCachePlan plan_page_cache(std::span<const std::size_t> block_bytes, std::size_t cache_bytes) {
  PageCachePlan plan;
  bool fits = true;
  for (const std::size_t bytes : block_bytes) {
    plan.first_pass_bytes += bytes;
    fits = fits && bytes <= cache_bytes;
    if (fits) {
      ++plan.cached_blocks;
      cache_bytes -= bytes;
    } else {
      plan.bytes_per_later_pass += bytes;
    }
  }
  return plan;
}

}  // namespace ltxmem
