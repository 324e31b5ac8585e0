// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "checkpoint/linear_weights.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/receptive_field.hpp"

namespace ltx2 {

/// Rows [positions, channels] of a channels-last tensor, for the operations that work on rows.
template <class T>
ltxmem::TensorView<T, 2> as_rows(ltxmem::TensorView<T, 4> x) {
  return x.reshape(ltxmem::Extents<2>{x.extent(0) * x.extent(1) * x.extent(2), x.extent(3)});
}

/// The elements of a small dense filter as a vector.
inline ltxmem::WeightVector flattened(const ltxmem::WeightMatrix& filter) {
  ltxmem::WeightVector vector;
  vector.data = filter.data;
  vector.dtype = filter.dtype;
  vector.size = filter.rows * filter.columns;
  return vector;
}

/// A convolution of a model: weights as they lie in the file and a geometry that includes the padding.
///
/// Shapes    x [T, H, W, in], y [T', H', W', out], channels-last
/// Memory    the backend's convolution_workspace_bytes, while it runs
template <ltxmem::Element T, ltxmem::HasConvolution<T> Backend>
class Convolution {
 public:
  Convolution(const LinearWeights& weights, const ltxmem::ConvolutionGeometry& geometry)
      : weight_(weights.weight), bias_(weights.bias), geometry_(geometry) {}

  std::int64_t outputs() const noexcept { return weight_.rows; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const {
    const ltxmem::Extents<3> extents = geometry_.output_extents({input[0], input[1], input[2]});
    return {extents[0], extents[1], extents[2], outputs()};
  }
  ReceptiveField field(const ReceptiveField& outputs, std::size_t axis) const {
    return outputs.through(geometry_, axis);
  }

  /// y = convolution(x)
  void operator()(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    run(backend, x, {}, y, arena);
  }

  /// y += convolution(x)
  void add(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    run(backend, x, y, y, arena);
  }

 private:
  void run(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<const T, 4> residual,
           ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    backend.convolve(
        x,
        ltxmem::ConvolutionArguments<T>{.weight = weight_, .bias = bias_, .geometry = geometry_, .residual = residual},
        y, arena);
  }

  ltxmem::WeightMatrix weight_;
  ltxmem::WeightVector bias_;
  ltxmem::ConvolutionGeometry geometry_;
};

}  // namespace ltx2
