// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ltxmem/backend/cuda/kernels/flash_attention.cuh"
#include "ltxmem/backend/cuda/kernels/matrix_convolution.cuh"
#include "ltxmem/backend/cuda/kernels/norm.cuh"

/// The arguments of the operations as kernels take them. Views have been checked against each other; what is looked at
/// here is what kernels need beyond that.

namespace ltxmem::cuda {

template <class T>
Rows<T> rows_of(TensorView<T, 2> view) {
  return {view.data(), view.stride(0)};
}

/// Whether `count` elements at every row can be moved by one instruction.
template <class T>
bool moves_in_groups(const Rows<T>& rows, std::int64_t columns, int count) {
  const auto bytes = static_cast<std::uintptr_t>(count) * sizeof(T);
  return columns % count == 0 && rows.stride % count == 0 && reinterpret_cast<std::uintptr_t>(rows.data) % bytes == 0;
}

/// An absent view has no data, whatever its address.
template <class T>
Rows<T> rows_or_none(TensorView<T, 2> view) {
  return view.empty() ? Rows<T>{} : rows_of(view);
}

inline DeviceTokenRows token_rows_of(const TokenRows& rows) {
  if (rows.empty()) return {};
  expects(rows.index.extent(0) <= 1 || rows.index.stride(0) == 1, "token rows: index has stride ", rows.index.stride(0),
          ", expected 1");
  return {rows.rows.data(), rows.rows.stride(0), rows.index.empty() ? nullptr : rows.index.data()};
}

inline DeviceWeight weight_of(const WeightVector& vector) {
  return vector.empty() ? DeviceWeight{} : DeviceWeight{vector.data, vector.dtype};
}

template <Element T>
NormKernelArguments<T> norm_arguments(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
  NormKernelArguments<T> a;
  a.x = rows_of(x);
  a.residual = rows_or_none(arguments.residual);
  a.y = rows_of(y);
  a.channels = x.extent(1);
  a.kind = arguments.kind;
  a.eps = arguments.eps;
  a.weight = weight_of(arguments.weight);
  a.weight_offset = arguments.weight_offset;
  a.scale = token_rows_of(arguments.scale);
  a.shift = token_rows_of(arguments.shift);
  a.activation = arguments.activation;
  return a;
}

template <Element T>
HeadNormKernelArguments<T> head_norm_arguments(TensorView<T, 2> x, const HeadNormArguments& arguments) {
  HeadNormKernelArguments<T> a;
  a.x = rows_of(x);
  a.heads = arguments.heads;
  a.head_dim = x.extent(1) / arguments.heads;
  expects(a.head_dim % 2 == 0, "head norm on a CUDA device: heads of odd width ", a.head_dim);
  a.kind = arguments.kind;
  a.per_head = arguments.per_head;
  a.eps = arguments.eps;
  a.weight = weight_of(arguments.weight);
  a.weight_offset = arguments.weight_offset;
  if (!arguments.row_factors.empty()) {
    a.row_factors = arguments.row_factors.data();
    a.row_factor_stride = arguments.row_factors.stride(0);
  }
  const RotaryTable& rotary = arguments.rotary;
  if (rotary.empty()) return a;
  expects(rotary.coordinate.extent(1) == 1 || rotary.coordinate.stride(1) == 1,
          "head norm: coordinates of a token are not contiguous");
  a.cosine = rows_of(rotary.cosine);
  a.sine = rows_of(rotary.sine);
  a.coordinate = rows_of(rotary.coordinate);
  a.axes = rotary.coordinate.extent(1);
  a.identity_slots = rotary.identity_slots;
  a.first_slot = rotary.first_slot;
  a.layout = rotary.layout;
  a.rotary_per_head = rotary.per_head;
  return a;
}

inline DeviceSoftmaxState state_of(const SoftmaxStateView& state) {
  const auto contiguous = [](const TensorView<float, 2>& view) { return view.extent(1) <= 1 || view.stride(1) == 1; };
  expects(contiguous(state.accumulator) && contiguous(state.maximum) && contiguous(state.sum),
          "attention: columns of the state are not contiguous");
  return {rows_of(state.accumulator), rows_of(state.maximum), rows_of(state.sum)};
}

template <Element T>
AttentionKernelArguments<T> attention_arguments(const AttentionTile<T>& tile, const SoftmaxStateView& state) {
  expects(tile.mask.empty() || tile.mask.extent(1) <= 1 || tile.mask.stride(1) == 1,
          "attention: columns of the mask are not contiguous");
  AttentionKernelArguments<T> a;
  a.q = rows_of(tile.q);
  a.k = rows_of(tile.k);
  a.v = rows_of(tile.v);
  a.mask = rows_or_none(tile.mask);
  a.state = state_of(state);
  a.queries = tile.q.extent(0);
  a.keys = tile.k.extent(0);
  a.heads_per_kv_head = tile.heads / tile.kv_heads;
  a.head_dim = tile.head_dim();
  a.lead = tile.query_begin - tile.key_begin;
  a.window = tile.window;
  a.logit_scale = tile.scale * log2_e;
  a.causal = tile.causal;
  return a;
}

/// Extents of a convolution fit 32 bits on a device; its addresses need not.
inline int convolution_extent(std::int64_t value) {
  expects(value >= 0 && value <= std::numeric_limits<int>::max() / 4, "convolution on a CUDA device: extent ", value,
          ", at most ", std::numeric_limits<int>::max() / 4);
  return static_cast<int>(value);
}

template <Element T>
ConvolutionKernelArguments<ConvolutionPlaces<T>> convolution_arguments(TensorView<const T, 4> x,
                                                                       const ConvolutionArguments<T>& arguments,
                                                                       TensorView<T, 4> y) {
  const ConvolutionGeometry& geometry = arguments.geometry;
  ConvolutionKernelArguments<ConvolutionPlaces<T>> a;
  ConvolutionPlaces<T>& places = a.places;
  places.x = x.data();
  places.y = y.data();
  places.residual = arguments.residual.empty() ? nullptr : arguments.residual.data();
  for (std::size_t axis = 0; axis < 3; ++axis) {
    places.x_stride[axis] = x.stride(axis);
    places.y_stride[axis] = y.stride(axis);
    places.residual_stride[axis] = arguments.residual.stride(axis);
    places.in[axis] = convolution_extent(x.extent(axis));
    places.out[axis] = convolution_extent(y.extent(axis));
    places.kernel[axis] = convolution_extent(geometry.kernel[axis]);
    places.stride[axis] = convolution_extent(geometry.stride[axis]);
    places.dilation[axis] = convolution_extent(geometry.dilation[axis]);
    places.pad_before[axis] = convolution_extent(geometry.pad_before[axis]);
    places.padding[axis] = geometry.padding[axis];
  }
  places.weight_stride = arguments.weight.row_stride;
  a.positions = y.extent(0) * y.extent(1) * y.extent(2);
  a.channels = x.extent(3);
  a.outputs = y.extent(3);
  a.taps = convolution_extent(geometry.taps());
  a.weight = {arguments.weight.data, arguments.weight.dtype};
  a.scale = arguments.weight.scale;
  a.bias = weight_of(arguments.bias);
  return a;
}

/// Whether the channels of every position are whole pieces of 16 bytes, as the matrix units take them.
template <Element T>
bool reads_pieces(const ConvolutionPlaces<T>& places, std::int64_t channels) {
  constexpr int count = 16 / sizeof(T);
  return std::ranges::all_of(places.x_stride, [&](std::int64_t stride) {
    return moves_in_groups(Rows<const T>{places.x, stride}, channels, count);
  });
}
template <Element T>
bool reads_pieces(const TransposedPlaces<T>& places, std::int64_t channels) {
  return moves_in_groups(places.x, channels, 16 / sizeof(T));
}

template <Element T>
ConvolutionKernelArguments<TransposedPlaces<T>> transposed_arguments(TensorView<const T, 2> x,
                                                                     const TransposedConvolutionArguments& arguments,
                                                                     TensorView<T, 2> y) {
  ConvolutionKernelArguments<TransposedPlaces<T>> a;
  a.places = {rows_of(x),
              rows_of(y),
              x.extent(0),
              arguments.kernel,
              arguments.stride,
              arguments.padding,
              arguments.weight.row_stride};
  a.positions = y.extent(0);
  a.channels = x.extent(1);
  a.outputs = y.extent(1);
  a.taps = convolution_extent(arguments.kernel);
  a.weight = {arguments.weight.data, arguments.weight.dtype};
  a.scale = arguments.weight.scale;
  a.bias = weight_of(arguments.bias);
  return a;
}

}  // namespace ltxmem::cuda
