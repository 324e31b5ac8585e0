// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "ltxmem/attention/online_softmax.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "ltxmem/parallel/partition.hpp"

namespace ltx2 {

/// The ranks that share the tokens of a forward pass, and which tokens of each modality they hold. The text and what is
/// made of it exist on every rank, alike to the bit.
template <class Ranks>
struct TokenShares {
  Ranks& ranks;
  Ranks& traders;  ///< a row of them: those that trade tokens for heads in self attention
  Ranks& ring;     ///< a column: between them keys and values go round
  ltxmem::Partition video;
  ltxmem::Partition audio;

  bool are_many() const { return ranks.size() > 1; }
  bool trade_heads() const { return traders.size() > 1; }
  ltxmem::Segment own_video() const { return video.segment(ranks.rank()); }
  ltxmem::Segment own_audio() const { return audio.segment(ranks.rank()); }

  /// This rank's part of rows for all tokens of the audio.
  template <class T>
  ltxmem::TensorView<T, 2> own_audio(ltxmem::TensorView<T, 2> rows) const {
    return rows.rows(own_audio().begin, own_audio().count);
  }
  /// Fills in the other ranks' parts of them, each of which has written its own.
  template <class Backend, class T>
  void gather_audio(Backend& backend, ltxmem::TensorView<T, 2> rows) const {
    ranks.all_gather(backend, ltxmem::TensorView<const T, 2>(own_audio(rows)), audio.counts(), rows);
  }
};

/// out = what all ranks have seen, for a rank's own queries, where each has folded keys of its own into its state of
/// all ranks' queries: every rank is sent its rows of every state, merges and finalizes them.
///
/// Shapes    state of all N queries; out, and gate [., heads] or empty, of the n queries that are this rank's in shares
/// Memory    n rows of the state once for every rank
/// Cost      three all_to_alls of N * heads * (head_dim + 2) floats in all
/// Numerics  merged in the order of the ranks: the same bits whoever does it
template <ltxmem::Element T, class Backend, ltxmem::Communicator<Backend> Ranks>
void finalize_over_ranks(Backend& backend, Ranks& ranks, const ltxmem::Partition& shares,
                         const ltxmem::SoftmaxStateView& state, ltxmem::TensorView<const float, 2> gate,
                         ltxmem::TensorView<T, 2> out, ltxmem::Arena& arena) {
  const ltxmem::Step step(backend, "merge over ranks");
  const auto scope = arena.scope();
  const ltxmem::Segment own = shares.segment(ranks.rank());
  const std::vector<std::int64_t> mine(static_cast<std::size_t>(ranks.size()), own.count);
  const auto collect = [&](const char* name, ltxmem::TensorView<const float, 2> rows) {
    const auto parts = arena.take<float, 2>(name, {ranks.size() * own.count, rows.extent(1)});
    ranks.all_to_all(backend, rows, shares.counts(), parts, mine);
    return parts;
  };
  const ltxmem::SoftmaxStateView parts{collect("ranks' accumulators", state.accumulator),
                                       collect("ranks' maxima", state.maximum), collect("ranks' sums", state.sum)};
  const ltxmem::SoftmaxStateView sum = state.rows(own.begin, own.count);
  backend.attention_reset(sum);
  for (int rank = 0; rank < ranks.size(); ++rank) {
    backend.attention_merge(parts.rows(rank * own.count, own.count), sum);
  }
  backend.attention_finalize(sum, gate, out, ltxmem::TensorView<float, 2>());
}

}  // namespace ltx2
