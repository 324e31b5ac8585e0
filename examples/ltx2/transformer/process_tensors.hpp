// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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

/// Gathers on the primary what the working ranks have: rows of each modality that there is.
template <class Backend>
void gather_outputs(Backend& backend, Processes& processes, const ltxmem::Partition& video,
                    const ltxmem::Partition& audio, const TransformerOutput& output) {
  const auto ranks = static_cast<std::size_t>(processes.size());
  const int first = processes.size() - video.ranks();
  if (first > 0) {  // an idle primary waits for as long as the others work
    if (processes.is_primary()) wait_until_done(processes, first);
    if (processes.rank() == first) send_sign(processes, 0, Sign::done);
  }
  const auto gather = [&](ltxmem::TensorView<float, 2> rows, const ltxmem::Partition& shares) {
    if (rows.empty() || shares.total() == 0) return;
    const bool works = processes.rank() >= first;
    const ltxmem::Segment own = works ? shares.segment(processes.rank() - first) : ltxmem::Segment{};
    std::vector<std::int64_t> sent(ranks, 0);
    sent[0] = own.count;
    std::vector<std::int64_t> received(ranks, 0);
    if (processes.is_primary()) std::copy(shares.counts().begin(), shares.counts().end(), received.begin() + first);
    processes.all_to_all(backend, ltxmem::TensorView<const float, 2>(rows.rows(own.begin, own.count)), sent,
                         processes.is_primary() ? rows : rows.rows(0, 0), received);
  };
  gather(output.video, video);
  gather(output.audio, audio);
}

}  // namespace ltx2
