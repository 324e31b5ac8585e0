// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem::cpu {

/// Scratch of one linear operation over any number of tokens: per thread, and the maximum over its terms.
template <class Gemm, Element T>
std::size_t linear_workspace_bytes(int threads, std::int64_t tokens, const WeightMatrix& weight);

template <Element T, class Out, class Gemm>
void linear(ThreadPool& pool, const Gemm& gemm, std::span<const LinearTerm<T>> terms,
            const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y, Arena& arena);

}  // namespace ltxmem::cpu
