// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/tensor_part.hpp"
#include "checkpoint/weight_places.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/weights/weight_stream.hpp"
#include "runtime/settings.hpp"

/// Weights on their way: the blocks of a model as a WeightStream wants them, and scopes that find them in its slots.

namespace ltx2 {

/// The blocks of a model: for each the tensors below one prefix, and the LoRAs of its modules, or the parts of them
/// that are wanted. fp8 weights travel as they are stored; LoRAs travel with their block.
///
/// Memory  lists of tensors; no weights
/// Throws  IoError for a prefix without tensors
///
/// Borrows the checkpoint; LoRAs are those active when it is made.
class ModelBlocks {
 public:
  /// Streamed blocks that the page cache has no room for are dropped from it after every use; it keeps the first ones
  /// after the resident and the stored ones, which are read once.
  /// Left out are tensors whose names go on with one of the exceptions. The room in the page cache is for whole
  /// tensors: others on this machine may want the other parts.
  ModelBlocks(const Checkpoint& checkpoint, const std::vector<std::string>& prefixes, const WeightPlacement& placement,
              const std::vector<std::string>& exceptions = {}, const TensorParts& parts = {});
  ModelBlocks(const ModelBlocks&) = delete;
  ModelBlocks& operator=(const ModelBlocks&) = delete;

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(scopes_.size()); }
  const std::vector<ltxmem::WeightBlock>& blocks() const noexcept { return blocks_; }

  /// Where to find block i in the file, or at an address on the device.
  WeightScope in_place(std::int64_t block) const;
  WeightScope at(std::int64_t block, const std::byte* address) const;

  const WeightPlacement& placement() const noexcept { return placement_; }
  /// Of the passes over these blocks, the page cache being empty before the first.
  const ltxmem::PageCachePlan& page_cache() const noexcept { return page_cache_; }
  ltxmem::WeightStreamOptions options(std::stop_token stop) const;

 private:
  std::vector<WeightScope> scopes_;
  WeightPlacement placement_;
  std::vector<WeightPlaces> places_;
  std::vector<ltxmem::WeightBlock> blocks_;
  ltxmem::PageCachePlan page_cache_;
};

/// "<prefix><index>." for index in [0, count).
std::vector<std::string> numbered_prefixes(const std::string& prefix, std::int64_t count);

/// The blocks of a model by turns, wherever their weights are: in the file, or on the device in the slots of a stream.
/// Those to be stored stay in the stores of the workspace.
///
/// Memory  nothing where weights are used in place; else that of the stream, until the scopes of the arenas end
/// Throws  see WeightStream
template <ltxmem::HasByteTransfer Backend>
class BlockStream {
 public:
  BlockStream(Backend& backend, const ModelBlocks& blocks, const ltxmem::WeightStreamOptions& options,
              ltxmem::Workspace& workspace)
      : blocks_(blocks) {
    if (!blocks.placement().in_place()) {
      stream_.emplace(backend, blocks.blocks(), options, workspace.device, workspace.pinned, workspace.stores);
    }
  }

  /// The weights of block i for work that is queued until the next call; bind them anew every time.
  WeightScope acquire(std::int64_t block) {
    return stream_ ? blocks_.at(block, stream_->acquire(block)) : blocks_.in_place(block);
  }

 private:
  const ModelBlocks& blocks_;
  std::optional<ltxmem::WeightStream<Backend>> stream_;
};

}  // namespace ltx2
