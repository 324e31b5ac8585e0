// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "ltxmem/parallel/partition.hpp"

/// Ranks that are threads with a device each, under NCCL, on operands in host memory; see runners.hpp.

namespace ltxmem::test::on_device {

/// RingAttention over the shards of the partitions, without mask.
template <Element T>
void ring_attention(const AttentionTile<T>& whole, const Partition& queries, const Partition& keys,
                    TensorView<T, 2> out);

/// UlyssesAttention likewise, all ranks in one row.
template <Element T>
void ulysses_attention(const AttentionTile<T>& whole, const Partition& tokens, TensorView<T, 2> out);

/// A feed-forward network without biases whose hidden channels are shared out; y of every rank.
template <Element T>
std::vector<std::vector<T>> tensor_parallel_ffn(TensorView<const T, 2> x, const WeightMatrix& up,
                                                const WeightMatrix& down, const Partition& hidden,
                                                const ChunkedFfnOptions& options);

/// Every rank's rows after all_reduce by sum, and a barrier.
std::vector<std::vector<float>> all_reduce(const std::vector<std::vector<float>>& rows);

/// What rank 0 throws that waits for a message of rank 1, which sends none.
std::string wait_in_vain(std::chrono::milliseconds deadline);

}  // namespace ltxmem::test::on_device
