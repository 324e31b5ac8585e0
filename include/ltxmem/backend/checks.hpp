// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/error.hpp"

/// What the backend operations demand of their arguments, in one place, so that a dry run refuses what the real run
/// refuses and with the same words. Every function throws ShapeError with both values in the text.
///
/// They look at extents, strides and types alone and never at an element: a dry run has none. Numbers that lie in
/// memory, such as the rows that tokens ask for, are for the backend that can read them to check.

namespace ltxmem::detail {

inline void check_type(const WeightMatrix& weight) {
  with_floating_type(weight.dtype, [](auto*) {});
}

/// An absent vector has no type to check.
inline void check_type(const WeightVector& vector) {
  if (!vector.empty()) with_floating_type(vector.dtype, [](auto*) {});
}

template <class T>
bool contiguous_columns(TensorView<T, 2> view) {
  return view.extent(1) <= 1 || view.stride(1) == 1;
}

template <Element T, class Out>
void check_linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y) {
  const std::int64_t tokens = y.extent(0);
  const std::int64_t outputs = y.extent(1);
  expects(!terms.empty(), "linear: no term");
  expects(contiguous_columns(y), "linear: columns of y are not contiguous");
  for (const LinearTerm<T>& term : terms) {
    expects(term.x.extent(0) == tokens, "linear: rows of x ", term.x.extent(0), ", rows of y ", tokens);
    expects(term.x.extent(1) == term.weight.columns, "linear: columns of x ", term.x.extent(1),
            ", inputs of the weight ", term.weight.columns);
    expects(term.weight.rows == outputs, "linear: outputs of the weight ", term.weight.rows, ", columns of y ",
            outputs);
    expects(contiguous_columns(term.x), "linear: columns of x are not contiguous");
    check_type(term.weight);
  }
  check_type(epilogue.bias);
  expects(epilogue.bias.empty() || epilogue.bias.size == outputs, "linear: bias ", epilogue.bias.size,
          ", columns of y ", outputs);
  const auto check_like_y = [&](const char* what, const auto& view) {
    expects(view.empty() || view.extents() == y.extents(), "linear: ", what, " ", view.extent(0), " x ", view.extent(1),
            ", y ", tokens, " x ", outputs);
    expects(contiguous_columns(view), "linear: columns of the ", what, " are not contiguous");
  };
  check_like_y("addend", epilogue.addend);
  check_like_y("residual", epilogue.residual);
  const TokenRows& gate = epilogue.gate;
  if (gate.empty()) return;
  expects(gate.rows.extent(1) == outputs, "linear: columns of the gate ", gate.rows.extent(1), ", columns of y ",
          outputs);
  expects(contiguous_columns(gate.rows), "linear: columns of the gate are not contiguous");
  expects(gate.index.empty() || gate.index.extent(0) == tokens, "linear: row numbers of the gate ",
          gate.index.extent(0), ", rows of y ", tokens);
}

inline void check_token_rows(const char* operation, const char* what, const TokenRows& rows, std::int64_t tokens,
                             std::int64_t channels) {
  if (rows.empty()) return;
  expects(rows.rows.extent(1) == channels, operation, ": ", what, " has ", rows.rows.extent(1),
          " columns, the rows have ", channels);
  expects(contiguous_columns(rows.rows), operation, ": columns of ", what, " are not contiguous");
  expects(rows.index.empty() || rows.index.extent(0) == tokens, operation, ": index of ", what, " has ",
          rows.index.extent(0), " entries for ", tokens, " tokens");
}

template <Element T>
void check_norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
  const std::int64_t tokens = x.extent(0);
  const std::int64_t channels = x.extent(1);
  expects(y.extents() == x.extents(), "norm: x ", tokens, " x ", channels, ", y ", y.extent(0), " x ", y.extent(1));
  expects(contiguous_columns(x) && contiguous_columns(y), "norm: columns are not contiguous");
  check_type(arguments.weight);
  expects(arguments.weight.empty() || arguments.weight.size == channels, "norm: weight of ", arguments.weight.size,
          " elements for rows of ", channels);
  check_token_rows("norm", "scale", arguments.scale, tokens, channels);
  check_token_rows("norm", "shift", arguments.shift, tokens, channels);
  const TensorView<const T, 2>& residual = arguments.residual;
  expects(residual.empty() || residual.extents() == x.extents(), "norm: x ", tokens, " x ", channels, ", residual ",
          residual.extent(0), " x ", residual.extent(1));
  expects(residual.empty() || contiguous_columns(residual), "norm: residual columns are not contiguous");
}

template <Element T>
void check_head_norm(TensorView<T, 2> x, const HeadNormArguments& arguments) {
  const std::int64_t width = x.extent(1);
  expects(arguments.heads >= 1 && width % arguments.heads == 0, "head norm: rows of ", width, " for ", arguments.heads,
          " heads");
  const std::int64_t head_dim = width / arguments.heads;
  expects(contiguous_columns(x), "head norm: columns are not contiguous");
  expects(arguments.kind != NormKind::layer, "head norm: kind is layer, expected rms or none");
  const std::int64_t weights = arguments.per_head ? head_dim : width;
  check_type(arguments.weight);
  expects(arguments.weight.empty() || arguments.weight.size == weights, "head norm: weight of ", arguments.weight.size,
          " elements, expected ", weights);
  expects(arguments.row_factors.empty() || (arguments.kind == NormKind::rms && !arguments.per_head &&
                                            arguments.row_factors.extent(0) == x.extent(0)),
          "head norm: ", arguments.row_factors.extent(0), " row factors for ", x.extent(0),
          " rows, expected one each, kind rms and no mean per head");
  const RotaryTable& rotary = arguments.rotary;
  if (rotary.empty()) return;
  expects(head_dim % 2 == 0, "head norm: rotary embedding of heads of odd width ", head_dim);
  expects(rotary.sine.extents() == rotary.cosine.extents(), "head norm: cosine table ", rotary.cosine.extent(0), " x ",
          rotary.cosine.extent(1), ", sine table ", rotary.sine.extent(0), " x ", rotary.sine.extent(1));
  expects(contiguous_columns(rotary.cosine) && contiguous_columns(rotary.sine),
          "head norm: columns of the rotary tables are not contiguous");
  const std::int64_t axes = rotary.coordinate.extent(1);
  expects(rotary.coordinate.extent(0) == x.extent(0) && axes >= 1, "head norm: coordinates of ",
          rotary.coordinate.extent(0), " tokens and ", axes, " axes for ", x.extent(0), " tokens");
  expects(rotary.first_slot >= 0 && (rotary.first_slot == 0 || !rotary.per_head), "head norm: first slot ",
          rotary.first_slot, ", expected at least 0, and 0 when slots count anew in every head");
  const std::int64_t turning = rotary.first_slot + (rotary.per_head ? head_dim : width) / 2 - rotary.identity_slots;
  expects(rotary.identity_slots >= 0 && turning <= rotary.cosine.extent(1) * axes, "head norm: ", turning,
          " turning slots, the tables have ", rotary.cosine.extent(1), " frequencies for each of ", axes, " axes");
}

template <Element T>
void check_head_norm_factors(TensorView<const T, 2> x, TensorView<float, 1> factors) {
  expects(contiguous_columns(x), "head norm factors: columns are not contiguous");
  expects(factors.extent(0) == x.extent(0), "head norm factors: ", factors.extent(0), " factors for ", x.extent(0),
          " rows");
}

inline void check_softmax_state(const SoftmaxStateView& state) {
  const std::int64_t heads = state.maximum.extent(1);
  expects(state.maximum.extents() == state.sum.extents(), "attention: maximum ", state.maximum.extent(0), " x ", heads,
          ", sum ", state.sum.extent(0), " x ", state.sum.extent(1));
  expects(state.accumulator.extent(0) == state.maximum.extent(0) &&
              (heads == 0 ? state.accumulator.extent(1) : state.accumulator.extent(1) % heads) == 0,
          "attention: accumulator ", state.accumulator.extent(0), " x ", state.accumulator.extent(1), " for ",
          state.maximum.extent(0), " rows and ", heads, " heads");
}

template <Element T>
void check_attention(const AttentionTile<T>& tile, const SoftmaxStateView& state) {
  expects(tile.heads > 0 && tile.kv_heads > 0 && tile.heads % tile.kv_heads == 0, "attention: heads ", tile.heads,
          " not a multiple of kv_heads ", tile.kv_heads);
  const std::int64_t head_dim = tile.head_dim();
  expects(tile.q.extent(1) == tile.heads * head_dim && head_dim > 0, "attention: query width ", tile.q.extent(1),
          " does not hold ", tile.heads, " heads");
  expects(tile.k.extents() == tile.v.extents(), "attention: keys ", tile.k.extent(0), " x ", tile.k.extent(1),
          ", values ", tile.v.extent(0), " x ", tile.v.extent(1));
  expects(tile.k.extent(1) == tile.kv_heads * head_dim, "attention: key width ", tile.k.extent(1), ", expected ",
          tile.kv_heads * head_dim);
  expects(tile.key_begin % key_quantum == 0, "attention: key_begin ", tile.key_begin, ", expected a multiple of ",
          key_quantum);
  expects(tile.q.stride(1) == 1 && tile.k.stride(1) == 1 && tile.v.stride(1) == 1,
          "attention: columns of queries, keys and values must be contiguous");
  expects(tile.mask.empty() || tile.mask.extents() == Extents<2>{tile.q.extent(0), tile.k.extent(0)},
          "attention: mask ", tile.mask.extent(0), " x ", tile.mask.extent(1), ", expected ", tile.q.extent(0), " x ",
          tile.k.extent(0));
  expects(state.accumulator.extents() == tile.q.extents(), "attention: accumulator ", state.accumulator.extent(0),
          " x ", state.accumulator.extent(1), ", expected ", tile.q.extent(0), " x ", tile.q.extent(1));
  const Extents<2> per_head{tile.q.extent(0), tile.heads};
  expects(state.maximum.extents() == per_head && state.sum.extents() == per_head, "attention: maximum and sum of ",
          state.maximum.extent(0), " x ", state.maximum.extent(1), ", expected ", per_head[0], " x ", per_head[1]);
}

inline void check_attention_merge(const SoftmaxStateView& from, const SoftmaxStateView& into) {
  check_softmax_state(from);
  check_softmax_state(into);
  expects(from.accumulator.extents() == into.accumulator.extents() && from.maximum.extents() == into.maximum.extents(),
          "attention: merge of states of ", from.maximum.extent(0), " and ", into.maximum.extent(0), " rows, ",
          from.maximum.extent(1), " and ", into.maximum.extent(1), " heads");
}

template <Element T>
void check_attention_finalize(const SoftmaxStateView& state, TensorView<const float, 2> gate, TensorView<T, 2> out,
                              TensorView<float, 2> natural_lse) {
  check_softmax_state(state);
  expects(out.extents() == state.accumulator.extents(), "attention: out ", out.extent(0), " x ", out.extent(1),
          ", accumulator ", state.accumulator.extent(0), " x ", state.accumulator.extent(1));
  expects(gate.empty() || gate.extents() == state.maximum.extents(), "attention: gate ", gate.extent(0), " x ",
          gate.extent(1), ", state ", state.maximum.extent(0), " x ", state.maximum.extent(1));
  expects(natural_lse.empty() || natural_lse.extents() == state.maximum.extents(), "attention: lse ",
          natural_lse.extent(0), " x ", natural_lse.extent(1), ", state ", state.maximum.extent(0), " x ",
          state.maximum.extent(1));
}

template <Element T>
void check_convolution(TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y) {
  const ConvolutionGeometry& geometry = arguments.geometry;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    expects(geometry.kernel[axis] >= 1 && geometry.stride[axis] >= 1 && geometry.dilation[axis] >= 1 &&
                geometry.pad_before[axis] >= 0 && geometry.pad_after[axis] >= 0,
            "convolution: kernel ", geometry.kernel[axis], ", stride ", geometry.stride[axis], ", dilation ",
            geometry.dilation[axis], ", padding ", geometry.pad_before[axis], " and ", geometry.pad_after[axis],
            " on axis ", axis);
    expects(geometry.padding[axis] != Padding::reflect ||
                std::max(geometry.pad_before[axis], geometry.pad_after[axis]) < x.extent(axis),
            "convolution: extent ", x.extent(axis), " of axis ", axis, " is too short to reflect ",
            std::max(geometry.pad_before[axis], geometry.pad_after[axis]));
  }
  const Extents<3> output = geometry.output_extents({x.extent(0), x.extent(1), x.extent(2)});
  expects(y.extent(0) == output[0] && y.extent(1) == output[1] && y.extent(2) == output[2], "convolution: y ",
          y.extent(0), " x ", y.extent(1), " x ", y.extent(2), ", expected ", output[0], " x ", output[1], " x ",
          output[2]);
  expects(arguments.weight.columns == x.extent(3) * geometry.taps(), "convolution: weight of ",
          arguments.weight.columns, " columns for ", x.extent(3), " channels and ", geometry.taps(), " taps");
  expects(arguments.weight.rows == y.extent(3), "convolution: weight of ", arguments.weight.rows, " rows for ",
          y.extent(3), " output channels");
  check_type(arguments.weight);
  check_type(arguments.bias);
  expects(arguments.bias.empty() || arguments.bias.size == y.extent(3), "convolution: bias of ", arguments.bias.size,
          " elements for ", y.extent(3), " output channels");
  const TensorView<const T, 4>& residual = arguments.residual;
  expects(residual.empty() || residual.extents() == y.extents(), "convolution: extents of residual and y differ");
  expects(x.stride(3) == 1 && y.stride(3) == 1 && (residual.empty() || residual.stride(3) == 1),
          "convolution: channels are not contiguous");
}

template <Element T>
void check_transposed(TensorView<const T, 2> x, const TransposedConvolutionArguments& arguments, TensorView<T, 2> y) {
  expects(arguments.stride >= 1 && arguments.kernel >= arguments.stride && arguments.padding >= 0,
          "transposed convolution: kernel ", arguments.kernel, ", stride ", arguments.stride, ", padding ",
          arguments.padding);
  const std::int64_t length = (x.extent(0) - 1) * arguments.stride + arguments.kernel - 2 * arguments.padding;
  expects(x.extent(0) >= 1 && y.extent(0) == length, "transposed convolution: y of ", y.extent(0), " rows, expected ",
          length, " for ", x.extent(0));
  expects(arguments.weight.rows == x.extent(1) && arguments.weight.columns == y.extent(1) * arguments.kernel,
          "transposed convolution: weight ", arguments.weight.rows, " x ", arguments.weight.columns, ", expected ",
          x.extent(1), " x ", y.extent(1) * arguments.kernel);
  check_type(arguments.weight);
  check_type(arguments.bias);
  expects(arguments.bias.empty() || arguments.bias.size == y.extent(1), "transposed convolution: bias of ",
          arguments.bias.size, " elements for ", y.extent(1), " output channels");
  expects(contiguous_columns(x) && contiguous_columns(y), "transposed convolution: channels are not contiguous");
}

inline void check_copy(const Extents<2>& from, const Extents<2>& to) {
  expects(from == to, "copy: from ", from[0], " x ", from[1], " to ", to[0], " x ", to[1]);
}

}  // namespace ltxmem::detail
