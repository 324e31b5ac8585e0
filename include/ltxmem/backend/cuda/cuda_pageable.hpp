// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cuda/cuda_error.hpp"
#include "ltxmem/core/tensor_view.hpp"

/// Copies that convert between a device and memory of the host that devices do not reach: the host converts.

namespace ltxmem::cuda {

/// Whether this is memory of the host that is not page-locked.
inline bool is_pageable(const void* pointer) {
  cudaPointerAttributes attributes{};
  check("cudaPointerGetAttributes", cudaPointerGetAttributes(&attributes, pointer));
  return attributes.type == cudaMemoryTypeUnregistered;
}

/// to = from, one of which is pageable; send(from, to) copies rows of one type. It has read or written pageable memory
/// when it returns, as the runtime promises.
///
/// Memory    at most half a MiB of the host, or one row
template <class From, class To, class Send>
void copy_pageable(TensorView<const From, 2> from, TensorView<To, 2> to, const Send& send) {
  constexpr std::int64_t elements = std::int64_t{1} << 17;
  const std::int64_t width = from.extent(1);
  const std::int64_t rows = std::clamp<std::int64_t>(elements / std::max<std::int64_t>(width, 1), 1, from.extent(0));
  const auto convert = [](TensorView<const From, 2> source, TensorView<To, 2> target) {
    for (std::int64_t row = 0; row < source.extent(0); ++row) {
      for (std::int64_t column = 0; column < source.extent(1); ++column) {
        target(row, column) = static_cast<To>(static_cast<float>(source(row, column)));
      }
    }
  };
  const auto by_portions = [&]<class Staged>(const auto& move) {
    std::vector<Staged> memory(static_cast<std::size_t>(rows * width));
    for (std::int64_t begin = 0; begin < from.extent(0); begin += rows) {
      const std::int64_t count = std::min(rows, from.extent(0) - begin);
      move(from.rows(begin, count), TensorView<Staged, 2>(memory.data(), {count, width}), to.rows(begin, count));
    }
  };
  if (is_pageable(from.data())) {
    by_portions.template operator()<To>([&](const auto& source, const auto& staged, const auto& target) {
      convert(source, staged);
      send(TensorView<const To, 2>(staged), target);
    });
  } else {
    by_portions.template operator()<From>([&](const auto& source, const auto& staged, const auto& target) {
      send(source, staged);
      convert(TensorView<const From, 2>(staged), target);
    });
  }
}

}  // namespace ltxmem::cuda
