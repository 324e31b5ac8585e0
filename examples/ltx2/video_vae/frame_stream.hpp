// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/convolution.hpp"

/// A clip that passes through layers a few frames at a time, exactly as if it came whole.
///
/// Every turn brings each layer some frames. A convolution over time keeps those of which it needs the values again
/// (at most two) and gives what it can compute: one that looks ahead stays a frame behind, and gives that frame once
/// the clip has ended. No frame is computed twice, and none differently: memory depends on the frames of a turn, not on
/// those of the clip.

namespace ltx2 {

/// What a layer gets or gives in one turn.
struct Turn {
  std::int64_t frames = 0;
  bool last = false;  ///< the clip ends with them
};

/// How a clip is cut into turns, seen from between two layers.
struct TurnShape {
  std::int64_t cap = 1;    ///< frames of a full turn
  std::int64_t total = 1;  ///< frames of the clip

  std::int64_t most() const noexcept { return std::min(cap, total); }
  /// What a convolution of three frames keeps: nothing when the clip comes in one turn.
  std::int64_t carried() const noexcept { return total > cap ? 2 : 0; }
  /// The same where time is so many times coarser or finer; the first frame stands alone.
  TurnShape coarser(std::int64_t factor) const { return {cap / factor, (total - 1) / factor + 1}; }
  TurnShape finer(std::int64_t factor) const { return {cap * factor, (total - 1) * factor + 1}; }
};

/// Runs a clip of so many frames through in turns of a number of them: step(begin, count, last) feeds one turn and says
/// what came out, of which `full` frames are a full turn. Until then layers are filling up, and after the last frames
/// they run empty; the turns between are all alike.
template <class Backend, class Step>
void stream_clip(Backend& backend, std::int64_t frames, std::int64_t turn, std::int64_t full, const Step& step) {
  const std::int64_t full_turns = ltxmem::ceil_div(frames, turn) - 1;
  std::int64_t begun = 0;
  for (Turn out; begun < full_turns && out.frames < full; ++begun) out = step(begun * turn, turn, false);
  ltxmem::repeat(backend, full_turns - begun, [&](std::int64_t i) { step((begun + i) * turn, turn, false); });
  Turn out = step(full_turns * turn, frames - full_turns * turn, true);
  while (!out.last) out = step(frames, 0, true);
}

/// Positions [begin, end) of a spatial axis with so many of them.
struct Span {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t extent = 0;

  static Span whole(std::int64_t extent) { return {0, extent, extent}; }
  std::int64_t size() const noexcept { return end - begin; }
  /// With the neighbours that a kernel of three positions reads.
  Span widened() const { return {std::max<std::int64_t>(begin - 1, 0), std::min(end + 1, extent), extent}; }
  /// What it is made from where positions are so many times coarser, and what it becomes where they are finer.
  Span coarser(std::int64_t factor) const { return {begin / factor, ltxmem::ceil_div(end, factor), extent / factor}; }
  Span finer(std::int64_t factor) const { return {begin * factor, end * factor, extent * factor}; }
};

/// A part of every frame.
struct Tile {
  Span rows;
  Span columns;

  static Tile whole(std::int64_t height, std::int64_t width) { return {Span::whole(height), Span::whole(width)}; }
  Tile widened() const { return {rows.widened(), columns.widened()}; }
  Tile coarser(std::int64_t factor) const { return {rows.coarser(factor), columns.coarser(factor)}; }
  Tile finer(std::int64_t factor) const { return {rows.finer(factor), columns.finer(factor)}; }
  ltxmem::Extents<4> extents(std::int64_t frames, std::int64_t channels) const {
    return {frames, rows.size(), columns.size(), channels};
  }
};

/// Tiles of a number of rows and of columns, in row-major order; one tile for a size of 0.
inline std::vector<Tile> tiles_of(const Tile& whole, std::int64_t size) {
  if (size == 0) return {whole};
  std::vector<Tile> tiles;
  for (std::int64_t row = 0; row < whole.rows.extent; row += size) {
    for (std::int64_t column = 0; column < whole.columns.extent; column += size) {
      tiles.push_back({{row, std::min(row + size, whole.rows.extent), whole.rows.extent},
                       {column, std::min(column + size, whole.columns.extent), whole.columns.extent}});
    }
  }
  return tiles;
}

/// Tiles of one shape, also with a margin of so many positions that ends where the frame does: layers with that reach
/// do the same work on each.
struct EqualTiles {
  Tile first;
  std::int64_t count = 0;
};
inline std::vector<EqualTiles> equal_tiles(const std::vector<Tile>& tiles, std::int64_t margin) {
  const auto shape = [margin](const Span& span) {
    return std::array{span.size(), std::min(span.begin, margin), std::min(span.extent - span.end, margin)};
  };
  std::vector<EqualTiles> kinds;
  std::map<std::array<std::array<std::int64_t, 3>, 2>, std::size_t> known;
  for (const Tile& tile : tiles) {
    const auto [at, is_new] = known.try_emplace({shape(tile.rows), shape(tile.columns)}, kinds.size());
    if (is_new) kinds.push_back({tile, 0});
    ++kinds[at->second].count;
  }
  return kinds;
}

/// Copies frames, either of which may be a part of larger ones.
template <class Backend, class T>
void copy_frames(Backend& backend, ltxmem::TensorView<const T, 4> from, ltxmem::TensorView<T, 4> to) {
  const ltxmem::Extents<2> lines{from.extent(1), from.extent(2) * from.extent(3)};
  for (std::int64_t t = 0; t < from.extent(0); ++t) {
    backend.copy(ltxmem::TensorView<const T, 2>(from[t].data(), lines, {from.stride(1), 1}),
                 ltxmem::TensorView<T, 2>(to[t].data(), lines, {to.stride(1), 1}));
  }
}

/// The part of frames holding one tile that another tile covers.
template <class T>
ltxmem::TensorView<T, 4> cropped(ltxmem::TensorView<T, 4> frames, const Tile& held, const Tile& part) {
  return frames.slice(1, part.rows.begin - held.rows.begin, part.rows.size())
      .slice(2, part.columns.begin - held.columns.begin, part.columns.size());
}

/// The frames that a convolution over three frames sees: those it keeps from turn to turn, then the new ones.
///
/// Output n is made from the frames n - before ... n - before + 2, the clip's ends repeated.
template <ltxmem::Element T>
class FrameStream {
 public:
  /// before: how often the first frame is repeated in front; the kept frames are taken from the arena.
  FrameStream(ltxmem::Arena& arena, const Tile& tile, std::int64_t channels, const TurnShape& turns,
              std::int64_t before)
      : tile_(tile),
        turns_(turns),
        before_(before),
        carried_(arena.take<T>("frames carried over", tile.extents(turns.carried(), channels))) {}

  const Tile& tile() const noexcept { return tile_; }
  const TurnShape& turns() const noexcept { return turns_; }
  /// A tensor that holds the most frames ever seen at once.
  ltxmem::Extents<4> window_extents() const {
    return tile_.extents(turns_.carried() + turns_.most(), carried_.extent(3));
  }

  /// Index in the clip of the first frame that is still needed, and how many are kept.
  std::int64_t begin() const noexcept { return std::max<std::int64_t>(emitted_ - before_, 0); }
  std::int64_t held() const noexcept { return received_ - begin(); }
  std::int64_t emitted() const noexcept { return emitted_; }

  /// Where the new frames of a turn belong.
  ltxmem::TensorView<T, 4> fresh(ltxmem::TensorView<T, 4> window) const { return window.rows(held(), turns_.most()); }

  /// Puts the kept frames in front of the new ones: all that a turn sees.
  template <class Backend>
  ltxmem::TensorView<T, 4> gather(Backend& backend, ltxmem::TensorView<T, 4> window, const Turn& in) const {
    copy(backend, carried_, window, held());
    return window.rows(0, held() + in.frames);
  }

  /// Padding in front, and the frames a turn gives: with the clip's end repeated so often behind it if that fits.
  struct Output {
    std::int64_t front = 0;
    std::int64_t behind = 0;
    std::int64_t frames = 0;
    bool last = false;
  };
  Output output(const Turn& in, std::int64_t after, std::int64_t most) const {
    const std::int64_t front = std::max<std::int64_t>(before_ - emitted_, 0);
    const std::int64_t frames = front + held() + in.frames - 2;
    const bool last = in.last && frames + after <= most;
    return {front, last ? after : 0, std::max<std::int64_t>(frames + (last ? after : 0), 0), last};
  }

  /// Ends a turn that saw these frames and gave so many: keeps what is needed again.
  template <class Backend>
  void advance(Backend& backend, ltxmem::TensorView<T, 4> seen, const Turn& in, const Turn& out) {
    const std::int64_t seen_from = begin();
    received_ += in.frames;
    emitted_ += out.frames;
    if (turns_.carried() > 0) copy(backend, seen.rows(begin() - seen_from, held()), carried_, held());
  }

 private:
  template <class Backend>
  static void copy(Backend& backend, ltxmem::TensorView<T, 4> from, ltxmem::TensorView<T, 4> to, std::int64_t frames) {
    if (frames == 0) return;
    backend.copy(as_rows(ltxmem::TensorView<const T, 4>(from.rows(0, frames))), as_rows(to.rows(0, frames)));
  }

  Tile tile_;
  TurnShape turns_;
  std::int64_t before_;
  ltxmem::TensorView<T, 4> carried_;
  std::int64_t received_ = 0;
  std::int64_t emitted_ = 0;
};

}  // namespace ltx2
