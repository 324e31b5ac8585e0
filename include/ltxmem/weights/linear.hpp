// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/memory/arena.hpp"

/// Linear layers: the concept that primitives and models are written against, and the plain one.
///
/// A LinearLayer l for activations of type T on a backend b provides
///   l.inputs(), l.outputs()                  widths of x and y
///   l.apply(b, x, epilogue, y, arena)        y [N, outputs] = epilogue(x W^T + bias), x [N, inputs]; y is T or float.
///                                            The layer brings its own bias: epilogue.bias must be empty
///   l.slice_outputs(begin, count)            the layer that computes these outputs only
///   l.slice_inputs(begin, count)             the layer's share of these inputs. The bias belongs to the slice that
///                                            ends at inputs(), so consecutive slices add up to the layer
///   l.workspace_bytes<T>(b, tokens)          what apply takes from the arena, by formula
/// A layer is a value: a few views and numbers, cheap to copy, and the memory of its weights outlives it.

namespace ltxmem {

template <class L, class T, class Backend>
concept LinearLayer = Element<T> && HasLinear<Backend, T> && std::copyable<L> &&
    requires(const L& layer, Backend& backend, const Backend& constant, TensorView<const T, 2> x,
             const LinearEpilogue<T>& epilogue, const LinearEpilogue<float>& wide, TensorView<T, 2> y,
             TensorView<float, 2> wide_y, Arena& arena, std::int64_t number) {
  { layer.inputs() } -> std::same_as<std::int64_t>;
  { layer.outputs() } -> std::same_as<std::int64_t>;
  layer.apply(backend, x, epilogue, y, arena);
  layer.apply(backend, x, wide, wide_y, arena);
  { layer.slice_outputs(number, number) } -> std::same_as<L>;
  { layer.slice_inputs(number, number) } -> std::same_as<L>;
  { layer.template workspace_bytes<T>(constant, number) } -> std::same_as<std::size_t>;
};

/// A linear layer that is one matrix and a bias, so that further products can be summed with it in one operation.
template <class L>
concept MatrixLayer = requires(const L& layer) {
  { layer.weight() } -> std::convertible_to<WeightMatrix>;
  { layer.bias() } -> std::convertible_to<WeightVector>;
};

/// Linear layer with one weight matrix of any floating type, used where it lies.
///
/// Computes  y = epilogue(x W^T + bias)
/// Shapes    x [N, in], W [out, in], bias [out] or absent, y [N, out]
/// Memory    the backend's linear_workspace_bytes
/// Numerics  accumulates in float; a factor stored with the weight applies to the float sum
/// Throws    ShapeError
class DenseLinear {
 public:
  DenseLinear() = default;
  explicit DenseLinear(const WeightMatrix& weight, const WeightVector& bias = {}) : weight_(weight), bias_(bias) {
    expects(bias.empty() || bias.size == weight.rows, "linear: bias ", bias.size, ", outputs ", weight.rows);
  }

  std::int64_t inputs() const noexcept { return weight_.columns; }
  std::int64_t outputs() const noexcept { return weight_.rows; }
  const WeightMatrix& weight() const noexcept { return weight_; }
  const WeightVector& bias() const noexcept { return bias_; }

  template <Element T, HasLinear<T> Backend, class Out>
  void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
             Arena& arena) const {
    expects(epilogue.bias.empty(), "linear: the epilogue has a bias, but the layer brings its own");
    LinearEpilogue<Out> with_bias = epilogue;
    with_bias.bias = bias_;
    const std::array<LinearTerm<T>, 1> terms{{{x, weight_}}};
    backend.linear(std::span<const LinearTerm<T>>(terms), with_bias, y, arena);
  }

  DenseLinear slice_outputs(std::int64_t begin, std::int64_t count) const {
    return DenseLinear(weight_.row_slice(begin, count), bias_.empty() ? bias_ : bias_.slice(begin, count));
  }
  DenseLinear slice_inputs(std::int64_t begin, std::int64_t count) const {
    return DenseLinear(weight_.column_slice(begin, count), begin + count == inputs() ? bias_ : WeightVector{});
  }

  template <Element T, HasLinear<T> Backend>
  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const {
    return backend.template linear_workspace_bytes<T>(tokens, weight_);
  }

 private:
  WeightMatrix weight_;
  WeightVector bias_;
};

namespace detail {

/// The least that models HasLinear: shows that a layer asks for nothing more. Declared only.
struct LinearArchetype {
  template <Element T, class Out>
  void linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
              Arena& arena);
  template <Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const WeightMatrix& weight) const;
};

}  // namespace detail

static_assert(LinearLayer<DenseLinear, float, detail::LinearArchetype>);
static_assert(LinearLayer<DenseLinear, bfloat16, detail::LinearArchetype> && MatrixLayer<DenseLinear>);

}  // namespace ltxmem
