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

/// The ranks that share the tokens of a forward pass, and which tokens of the video each holds. The audio, the text and
/// what is made of them exist on every rank, alike to the bit.
template <class Ranks>
struct TokenShares {
  Ranks& ranks;
  Ranks& traders;  ///< a row of them: those that trade tokens for heads in self attention
  Ranks& ring;     ///< a column: between them keys and values go round
  ltxmem::Partition video;

  bool are_many() const { return ranks.size() > 1; }
  bool trade_heads() const { return traders.size() > 1; }
  ltxmem::Segment own_video() const { return video.segment(ranks.rank()); }
};

/// out = what all ranks have seen, where each has folded keys of its own into its state of the same queries.
///
/// Every rank is sent an even share of the rows of every state, merges and finalizes them, and sends the result to all.
/// Shapes    state and out of N rows on every rank; gate [N, heads] or empty
/// Memory    the state's elements once more, on R ranks rounded up to R times ceil(N / R) rows
/// Cost      three all_to_alls of N * heads * (head_dim + 2) floats in all, an all_gather of out
/// Numerics  merged in the order of the ranks, and on one rank only: the same bits on all of them
template <ltxmem::Element T, class Backend, ltxmem::Communicator<Backend> Ranks>
void finalize_over_ranks(Backend& backend, Ranks& ranks, const ltxmem::SoftmaxStateView& state,
                         ltxmem::TensorView<const float, 2> gate, ltxmem::TensorView<T, 2> out, ltxmem::Arena& arena) {
  const ltxmem::Step step(backend, "merge over ranks");
  const auto scope = arena.scope();
  const ltxmem::Partition shares = ltxmem::Partition::even(out.extent(0), ranks.size());
  const ltxmem::Segment own = shares.segment(ranks.rank());
  const std::int64_t begin = own.count == 0 ? 0 : own.begin;
  const std::vector<std::int64_t> mine(static_cast<std::size_t>(ranks.size()), own.count);
  const auto collect = [&](const char* name, ltxmem::TensorView<const float, 2> rows) {
    const auto parts = arena.take<float, 2>(name, {ranks.size() * own.count, rows.extent(1)});
    ranks.all_to_all(backend, rows, shares.counts(), parts, mine);
    return parts;
  };
  const ltxmem::SoftmaxStateView parts{collect("ranks' accumulators", state.accumulator),
                                       collect("ranks' maxima", state.maximum), collect("ranks' sums", state.sum)};
  const ltxmem::SoftmaxStateView sum = state.rows(begin, own.count);
  backend.attention_reset(sum);
  for (int rank = 0; rank < ranks.size(); ++rank) {
    backend.attention_merge(parts.rows(rank * own.count, own.count), sum);
  }
  const auto finished = out.rows(begin, own.count);
  backend.attention_finalize(sum, gate.empty() ? gate : gate.rows(begin, own.count), finished,
                             ltxmem::TensorView<float, 2>());
  ranks.all_gather(backend, ltxmem::TensorView<const T, 2>(finished), shares.counts(), out);
}

}  // namespace ltx2
