// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "checkpoint/tensor_source.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/partition.hpp"

namespace ltx2 {

/// What is wanted of a tensor: all, rows (elements of a vector), or columns of a matrix.
struct TensorPart {
  enum class Of : std::uint8_t { all, rows, columns };
  Of of = Of::all;
  ltxmem::Segment part{};
};

/// The part of every tensor that is wanted; none given: all of it.
using TensorParts = std::function<TensorPart(const StoredTensor&)>;

/// Where the bytes of a part lie: as many in every row, rows at a distance. What is contiguous is one row.
struct TensorBytes {
  const std::byte* data = nullptr;
  std::size_t rows = 0;
  std::size_t row_bytes = 0;
  std::size_t stride_bytes = 0;
  std::int64_t row_stride = 0;  ///< of a matrix without the bytes between, in elements; 0: as in the file

  std::size_t bytes() const noexcept { return rows * row_bytes; }

  static TensorBytes of(const StoredTensor& tensor, const TensorPart& part) {
    const auto axis = static_cast<std::size_t>(part.of == TensorPart::Of::columns ? 1 : 0);
    if (part.of != TensorPart::Of::all) {
      ltxmem::expects<ltxmem::IoError>(axis < tensor.shape.size() && part.part.end() <= tensor.shape[axis], "tensor '",
                                       tensor.name, "': a part that ends at ", part.part.end(), " of axis ", axis);
    }
    if (part.of == TensorPart::Of::all || part.part.count == tensor.shape[axis]) {
      return {tensor.data, 1, tensor.bytes, tensor.bytes};
    }
    const auto rows = static_cast<std::size_t>(tensor.shape[0]);
    const std::size_t stride = tensor.bytes / rows;
    const auto begin = static_cast<std::size_t>(part.part.begin);
    const auto count = static_cast<std::size_t>(part.part.count);
    if (part.of == TensorPart::Of::rows) return {tensor.data + begin * stride, 1, count * stride, count * stride};
    const std::size_t element = ltxmem::dtype_bytes(tensor.dtype);
    return {tensor.data + begin * element, rows, count * element, stride, part.part.count};
  }
};

}  // namespace ltx2
