// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltxmem/weights/linear.hpp"

namespace ltxmem {

/// Linear layer stored in 8 bits with one factor for the whole matrix.
///
/// Computes  y = epilogue(scale * (x Q^T) + bias)
/// Shapes    x [N, in], Q [out, in] float8_e4m3, scale one float, bias [out] or absent, y [N, out]
/// Memory    the backend's linear_workspace_bytes: the matrix is expanded panel by panel, never as a whole
/// Numerics  Q expands to T without rounding; the factor applies to the float sum
/// Throws    ShapeError for another element type or a missing factor
class QuantizedLinear {
 public:
  explicit QuantizedLinear(const WeightMatrix& weight, const WeightVector& bias = {}) : dense_(weight, bias) {
    expects(weight.dtype == DType::f8_e4m3, "quantized linear: weight of type ", dtype_name(weight.dtype),
            ", expected ", dtype_name(DType::f8_e4m3));
    expects(weight.scale != nullptr, "quantized linear: the weight has no scale");
  }

  std::int64_t inputs() const noexcept { return dense_.inputs(); }
  std::int64_t outputs() const noexcept { return dense_.outputs(); }
  const WeightMatrix& weight() const noexcept { return dense_.weight(); }
  const WeightVector& bias() const noexcept { return dense_.bias(); }

  template <Element T, HasLinear<T> Backend, class Out>
  void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
             Arena& arena) const {
    dense_.apply(backend, x, epilogue, y, arena);
  }

  QuantizedLinear slice_outputs(std::int64_t begin, std::int64_t count) const {
    return QuantizedLinear(dense_.slice_outputs(begin, count));
  }
  QuantizedLinear slice_inputs(std::int64_t begin, std::int64_t count) const {
    return QuantizedLinear(dense_.slice_inputs(begin, count));
  }

  template <Element T, HasLinear<T> Backend>
  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const {
    return dense_.template workspace_bytes<T>(backend, tokens);
  }

 private:
  explicit QuantizedLinear(const DenseLinear& slice) : dense_(slice) {}

  DenseLinear dense_;
};

static_assert(LinearLayer<QuantizedLinear, float, detail::LinearArchetype>);
static_assert(LinearLayer<QuantizedLinear, bfloat16, detail::LinearArchetype> && MatrixLayer<QuantizedLinear>);

}  // namespace ltxmem
