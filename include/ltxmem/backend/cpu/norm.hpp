// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/operations.hpp"

namespace ltxmem::cpu {

template <Element T>
void norm(ThreadPool& pool, TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y);

template <Element T>
void head_norm(ThreadPool& pool, TensorView<T, 2> x, const HeadNormArguments& arguments);

}  // namespace ltxmem::cpu
