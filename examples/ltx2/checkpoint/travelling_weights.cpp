// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/travelling_weights.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

namespace {

/// fn(where, bytes) for what a part has from begin on, row by row: where counts from its first byte in the file.
template <class Fn>
void for_each_row(const TensorBytes& wanted, std::size_t begin, std::span<std::byte> to, const Fn& fn) {
  while (!to.empty()) {
    const std::size_t in_row = begin % wanted.row_bytes;
    const std::size_t count = std::min(wanted.row_bytes - in_row, to.size());
    fn(begin / wanted.row_bytes * wanted.stride_bytes + in_row, to.first(count));
    begin += count;
    to = to.subspan(count);
  }
}

/// The wanted bytes of a tensor: of a mapped file read through the file, since a mapping that has lost its file cannot
/// say so; of a copy (of a misaligned tensor) and a description, which nobody reads, through their address.
ltxmem::WeightPiece piece_of(const TensorSource& source, const StoredTensor& tensor, const TensorBytes& wanted,
                             bool keeps_cached) {
  ltxmem::WeightPiece piece;
  piece.bytes = wanted.bytes();
  piece.read = [wanted](std::size_t begin, std::span<std::byte> to) {
    for_each_row(wanted, begin, to, [&](std::size_t at, std::span<std::byte> row) {
      std::memcpy(row.data(), wanted.data + at, row.size());
    });
  };
  if (source.is_described()) return piece;
  const ltxmem::MappedFile& file = source.files()[tensor.file].file();
  const std::span<const std::byte> mapping = file.bytes();
  const bool is_mapped =
      !std::less<>()(tensor.data, mapping.data()) && std::less<>()(tensor.data, mapping.data() + mapping.size());
  if (!is_mapped) return piece;
  const auto offset = static_cast<std::size_t>(wanted.data - mapping.data());
  piece.read = [&file, offset, wanted, keeps_cached](std::size_t begin, std::span<std::byte> to) {
    if (begin == 0) file.will_need(offset, (wanted.rows - 1) * wanted.stride_bytes + wanted.row_bytes);
    for_each_row(wanted, begin, to, [&](std::size_t at, std::span<std::byte> row) {
      file.read(offset + at, row);
      if (!keeps_cached) file.drop(offset + at, row.size());
    });
  };
  return piece;
}

}  // namespace

std::vector<std::string> numbered_prefixes(const std::string& prefix, std::int64_t count) {
  std::vector<std::string> prefixes;
  for (std::int64_t i = 0; i < count; ++i) prefixes.push_back(prefix + std::to_string(i) + ".");
  return prefixes;
}

ModelBlocks::ModelBlocks(const Checkpoint& checkpoint, const std::vector<std::string>& prefixes,
                         const WeightPlacement& placement, const std::vector<std::string>& exceptions,
                         const TensorParts& parts)
    : placement_(placement) {
  for (const std::string& prefix : prefixes) scopes_.push_back(checkpoint.prefixed(prefix));
  if (placement.in_place()) return;
  std::vector<std::vector<Checkpoint::SourcedTensor>> tensors;
  std::vector<std::size_t> streamed;
  const auto resident = static_cast<std::size_t>(placement.stream ? placement.resident_blocks : 0);
  const auto read_once = resident + static_cast<std::size_t>(placement.stream ? placement.stored_blocks : 0);
  for (const std::string& prefix : prefixes) {
    tensors.push_back(checkpoint.tensors_below(prefix, exceptions));
    ltxmem::expects<ltxmem::IoError>(!tensors.back().empty(), checkpoint.tensors().name(), ": no tensors below ",
                                     prefix);
    if (!placement.stream || tensors.size() <= read_once) continue;
    std::size_t bytes = 0;
    for (const auto& [source, tensor] : tensors.back()) bytes += tensor->bytes;
    streamed.push_back(bytes);
  }
  page_cache_ = ltxmem::plan_page_cache(streamed, placement.page_cache_bytes);
  const std::size_t cached_end = read_once + static_cast<std::size_t>(page_cache_.cached_blocks);
  for (std::size_t block = 0; block < tensors.size(); ++block) {
    const bool keeps_cached = block >= read_once && block < cached_end;
    std::vector<TensorBytes> wanted;
    std::vector<ltxmem::WeightPiece> pieces;
    for (const auto& [source, tensor] : tensors[block]) {
      const TensorBytes part = TensorBytes::of(*tensor, parts ? parts(*tensor) : TensorPart{});
      if (part.bytes() == 0) continue;
      wanted.push_back(part);
      pieces.push_back(piece_of(*source, *tensor, wanted.back(), keeps_cached));
    }
    const ltxmem::WeightBlock& made = blocks_.emplace_back(std::move(pieces));
    WeightPlaces& places = places_.emplace_back();
    for (std::size_t i = 0; i < wanted.size(); ++i) places.add(wanted[i], made.offset(i));
  }
}

WeightScope ModelBlocks::in_place(std::int64_t block) const {
  return scopes_.at(static_cast<std::size_t>(block));
}

WeightScope ModelBlocks::at(std::int64_t block, const std::byte* address) const {
  return in_place(block).moved(places_.at(static_cast<std::size_t>(block)), address);
}

ltxmem::WeightStreamOptions ModelBlocks::options(std::stop_token stop) const {
  ltxmem::WeightStreamOptions options;
  options.slots = placement_.slots;
  options.resident = placement_.stream ? placement_.resident_blocks : size();
  options.stored = placement_.stream ? placement_.stored_blocks : 0;
  options.cached = page_cache_.cached_blocks;
  options.stop = std::move(stop);
  return options;
}

}  // namespace ltx2
