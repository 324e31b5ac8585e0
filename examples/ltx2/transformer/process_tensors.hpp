// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/parallel/partition.hpp"
#include "runtime/processes.hpp"
#include "runtime/signs_of_life.hpp"
#include "transformer/inputs.hpp"

/// Inputs and outputs of the transformer between the primary, which has them, and the other processes, which have room
/// for them. Traffic besides that of the ranks, and not in plans: all inputs to every process, and the outputs back.

namespace ltx2 {

/// Fills the tensors of every other process with the primary's, when that one has come so far.
template <class Backend>
void share_inputs(Backend& backend, Processes& processes, const TransformerInput& input) {
  wait_for_primary(processes);
  const auto share = [&](ltxmem::TensorView<const float, 2> tensor) {
    // Who is not the primary holds memory that its caller has not computed and only passes on.
    processes.broadcast(backend, 0, ltxmem::TensorView<float, 2>(const_cast<float*>(tensor.data()), tensor.extents()));
  };
  for (const std::optional<StreamInput>* stream : {&input.video, &input.audio}) {
    if (!*stream) continue;
    share((*stream)->latent);
    share((*stream)->context);
    share((*stream)->attention_mask);
  }
}

/// Gathers on the primary what the working ranks have: rows of the video each, and the audio of the first of them.
template <class Backend>
void gather_outputs(Backend& backend, Processes& processes, const ltxmem::Partition& video,
                    const TransformerOutput& output) {
  const auto ranks = static_cast<std::size_t>(processes.size());
  const int first = processes.size() - video.ranks();
  if (first > 0) {  // an idle primary waits for as long as the others work
    if (processes.is_primary()) wait_until_done(processes, first);
    if (processes.rank() == first) send_sign(processes, 0, Sign::done);
  }
  const auto gather = [&](ltxmem::TensorView<float, 2> rows, std::int64_t begin, std::vector<std::int64_t> counts) {
    const std::int64_t own = counts[static_cast<std::size_t>(processes.rank())];
    std::vector<std::int64_t> sent(ranks, 0);
    sent[0] = own;
    if (!processes.is_primary()) counts.assign(ranks, 0);
    processes.all_to_all(backend, ltxmem::TensorView<const float, 2>(rows.rows(begin, own)), sent,
                         processes.is_primary() ? rows : rows.rows(0, 0), counts);
  };
  if (!output.video.empty()) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(first), 0);
    counts.insert(counts.end(), video.counts().begin(), video.counts().end());
    const bool works = processes.rank() >= first;
    gather(output.video, works ? video.segment(processes.rank() - first).begin : 0, std::move(counts));
  }
  if (!output.audio.empty()) {
    std::vector<std::int64_t> counts(ranks, 0);
    counts[static_cast<std::size_t>(first)] = output.audio.extent(0);
    gather(output.audio, 0, std::move(counts));
  }
}

}  // namespace ltx2
