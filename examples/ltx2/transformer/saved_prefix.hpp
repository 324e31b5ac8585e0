// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "ltxmem/core/error.hpp"
#include "ltxmem/stores/placed_row_store.hpp"
#include "transformer/inputs.hpp"
#include "transformer/stream.hpp"

namespace ltx2 {

/// The tokens as some first blocks leave them, kept from one pass for another that shares those blocks.
///
/// Memory    the elements of x of every stream, in the space that is asked for, as PlacedRowStore has it; pinned: the
///           slots of HostRowStore as well. Until the scopes of the arenas end
/// Numerics  a copy: the pass that goes on from it has the bits of one that computes the blocks again
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class SavedPrefix {
 public:
  /// Room for streams of these sizes [tokens, width], saved in tiles of at most so many tokens; no tokens: no stream.
  SavedPrefix(Backend& backend, const ltxmem::Extents<2>& video, const ltxmem::Extents<2>& audio, std::int64_t tile,
              ltxmem::MemorySpace space, ltxmem::Workspace& workspace)
      : tile_(tile) {
    if (video[0] > 0) video_.emplace(backend, "saved tokens", video, tile, space, workspace);
    if (audio[0] > 0) audio_.emplace(backend, "saved tokens", audio, tile, space, workspace);
  }

  std::int64_t video_tokens() const { return video_ ? video_->rows() : 0; }
  std::int64_t audio_tokens() const { return audio_ ? audio_->rows() : 0; }

  /// Streams may be absent (null), like when the room was made; a rank without tokens saves none.
  void save(Backend& backend, Stream<T, Backend>* video, Stream<T, Backend>* audio) {
    const ltxmem::Step step(backend, "save prefix");
    if (video != nullptr && video_) copy(backend, video->x, *video_);
    if (audio != nullptr && audio_) copy(backend, audio->x, *audio_);
  }
  void restore(Backend& backend, Stream<T, Backend>* video, Stream<T, Backend>* audio) {
    const ltxmem::Step step(backend, "restore prefix");
    if (video != nullptr && video_) copy(backend, *video_, video->x);
    if (audio != nullptr && audio_) copy(backend, *audio_, audio->x);
  }

 private:
  using Store = ltxmem::PlacedRowStore<T, Backend>;

  void copy(Backend& backend, Store& from, Store& to) const {
    ltxmem::read_tiles(backend, from, tile_, [&](std::int64_t begin, ltxmem::TensorView<const T, 2> rows) {
      backend.copy(rows, to.stage(backend, begin, rows.extent(0)));
      to.store(backend, begin, rows.extent(0));
    });
  }

  std::int64_t tile_;
  std::optional<Store> video_;
  std::optional<Store> audio_;
};

}  // namespace ltx2
