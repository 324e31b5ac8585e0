// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/elementwise.cuh"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/ffn/chunked_gated_ffn.hpp"
#include "ltxmem/ops/group_norm.hpp"
#include "ltxmem/parallel/message_ranks.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"

/// The functions that the tests run by for_each, and every kernel that this makes.

namespace ltxmem::test {

struct DoubleValues {
  TensorView<float, 2> values;
  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t column = 0; column < values.extent(1); ++column) values(row, column) *= 2.0F;
  }
};

/// Calls visit(pointer to the kernel) for each.
template <class Visit>
void visit_for_each_kernels(Visit visit) {
  const auto element = [&]<class T>() {
    visit(&cuda::for_each_item<ltxmem::detail::GroupChunkMoments<T>>);
    visit(&cuda::for_each_item<ltxmem::detail::GroupNormApply<T>>);
    visit(&cuda::for_each_item<ltxmem::detail::FinishRows<T>>);
  };
  element.template operator()<float>();
  element.template operator()<bfloat16>();
  element.template operator()<half>();
  visit(&cuda::for_each_item<ltxmem::detail::GroupMoments>);
  visit(&cuda::for_each_item<ltxmem::detail::GroupChannelTable>);
  visit(&cuda::for_each_item<ltxmem::detail::RowNumbers>);
  visit(&cuda::for_each_item<ltxmem::detail::StartSums>);
  visit(&cuda::for_each_item<DoubleValues>);
  visit(&cuda::for_each_item<ltxmem::detail::ReduceRanks<float>>);
}

}  // namespace ltxmem::test
