// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "ltxmem/config.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/tensor_view.hpp"

/// Weights as they lie in a file: borrowed, read-only, with the element type known at run time.
///
/// The element type is erased because a checkpoint mixes types per tensor; kernels switch on it once per call.

namespace ltxmem {

/// Matrix [rows, columns], columns contiguous. For a linear layer rows are outputs and columns inputs.
struct WeightMatrix {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;   ///< in elements
  const float* scale = nullptr;  ///< one factor for every element, read when used; null means 1

  WeightMatrix() = default;

  template <class T>
  WeightMatrix(TensorView<const T, 2> view, const float* scale_factor = nullptr)  // NOLINT(google-explicit-constructor)
      : data(reinterpret_cast<const std::byte*>(view.data())),
        dtype(dtype_of<T>),
        rows(view.extent(0)),
        columns(view.extent(1)),
        row_stride(view.stride(0)),
        scale(scale_factor) {
    expects(view.extent(1) <= 1 || view.stride(1) == 1, "weight matrix: column stride ", view.stride(1),
            ", expected 1");
  }

  /// Rows [begin, begin + count): a slice of a layer's outputs.
  WeightMatrix row_slice(std::int64_t begin, std::int64_t count) const {
    expects_range("weight matrix: rows", begin, count, rows);
    WeightMatrix part = *this;
    part.data += static_cast<std::size_t>(begin * row_stride) * dtype_bytes(dtype);
    part.rows = count;
    return part;
  }

  /// Columns [begin, begin + count): a slice of a layer's inputs.
  WeightMatrix column_slice(std::int64_t begin, std::int64_t count) const {
    expects_range("weight matrix: columns", begin, count, columns);
    WeightMatrix part = *this;
    part.data += static_cast<std::size_t>(begin) * dtype_bytes(dtype);
    part.columns = count;
    return part;
  }

  bool empty() const noexcept { return rows == 0 || columns == 0; }
};

/// Contiguous vector: a bias, a norm's weight.
struct WeightVector {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t size = 0;

  WeightVector() = default;

  template <class T>
  WeightVector(TensorView<const T, 1> view)  // NOLINT(google-explicit-constructor)
      : data(reinterpret_cast<const std::byte*>(view.data())), dtype(dtype_of<T>), size(view.extent(0)) {
    expects(view.extent(0) <= 1 || view.stride(0) == 1, "weight vector: stride ", view.stride(0), ", expected 1");
  }

  WeightVector slice(std::int64_t begin, std::int64_t count) const {
    expects_range("weight vector: elements", begin, count, size);
    WeightVector part = *this;
    part.data += static_cast<std::size_t>(begin) * dtype_bytes(dtype);
    part.size = count;
    return part;
  }

  /// Element i as float; only where the memory is readable, never in a dry run. The type is a floating one of at most
  /// 32 bits.
  LTXMEM_HOST_DEVICE float operator[](std::int64_t i) const {
    switch (dtype) {
      case DType::bf16: return static_cast<float>(reinterpret_cast<const bfloat16*>(data)[i]);
      case DType::f16: return static_cast<float>(reinterpret_cast<const half*>(data)[i]);
      case DType::f8_e4m3: return static_cast<float>(reinterpret_cast<const float8_e4m3*>(data)[i]);
      default: return reinterpret_cast<const float*>(data)[i];
    }
  }

  LTXMEM_HOST_DEVICE bool empty() const noexcept { return size == 0; }
};

}  // namespace ltxmem
