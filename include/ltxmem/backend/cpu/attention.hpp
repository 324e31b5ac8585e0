// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem {

struct PortableAttention {};

}  // namespace ltxmem

namespace ltxmem::cpu {

template <class Kernel, Element T>
std::size_t attention_workspace_bytes(int threads, const AttentionTile<T>& tile);

template <class Kernel, Element T>
void attention_append(ThreadPool& pool, const AttentionTile<T>& tile, SoftmaxStateView state, Arena& arena);

void attention_reset(ThreadPool& pool, SoftmaxStateView state);
void attention_merge(ThreadPool& pool, SoftmaxStateView from, SoftmaxStateView into);

template <Element T>
void attention_finalize(ThreadPool& pool, SoftmaxStateView state, TensorView<const float, 2> gate, TensorView<T, 2> out,
                        TensorView<float, 2> natural_lse);

}  // namespace ltxmem::cpu
