// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/math/activation.hpp"

/// The arguments of the backend operations: plain aggregates of views, the same for every backend.
///
/// T is the element type of activations, N tokens (rows), D channels, H heads. Views are row-major with contiguous
/// columns; rows may be strided. An empty view or vector means "absent".

namespace ltxmem {

/// Rows of work that one product call covers on the CPU, and the unit that token chunks are rounded up to. Results do
/// not depend on where a sequence is cut into tiles as long as cuts are multiples of it.
inline constexpr std::int64_t row_quantum = 256;

/// Keys after which attention may change its running maximum. Transport tiles of keys are whole quanta, except the last
/// of a sequence.
inline constexpr std::int64_t key_quantum = 256;

/// A row vector chosen per token: token n uses rows[index[n]]. Without an index every token uses row 0.
///
/// Modulation takes few distinct values (one per distinct timestep), so it is stored once per value.
struct TokenRows {
  TensorView<const float, 2> rows{};          ///< [distinct, D]
  TensorView<const std::int32_t, 1> index{};  ///< [N] or empty

  bool empty() const noexcept { return rows.empty(); }
  TokenRows tokens(std::int64_t begin, std::int64_t count) const {
    return {rows, index.empty() ? index : index.slice(0, begin, count)};
  }
};

// ---------------------------------------------------------------------------------------------------------- linear

/// One summand x W^T of a linear operation: x [N, in], W [out, in].
template <Element T>
struct LinearTerm {
  TensorView<const T, 2> x{};
  WeightMatrix weight{};
  float strength = 1.0F;
};

/// y = residual + gate * activation(sum of terms + addend + bias). All in fp32, rounded once to Out.
/// addend and residual may be the same memory as y; nothing else may overlap y.
template <class Out>
struct LinearEpilogue {
  WeightVector bias{};  ///< [out]
  Activation activation = Activation::none;
  TensorView<const float, 2> addend{};  ///< [N, out]: a partial sum from an earlier slice of the inputs
  TensorView<const Out, 2> residual{};  ///< [N, out]
  TokenRows gate{};                     ///< rows [., out]

  LinearEpilogue tokens(std::int64_t begin, std::int64_t count) const {
    LinearEpilogue part = *this;
    if (!addend.empty()) part.addend = addend.rows(begin, count);
    if (!residual.empty()) part.residual = residual.rows(begin, count);
    part.gate = gate.tokens(begin, count);
    return part;
  }
};

// ------------------------------------------------------------------------------------------------------------ norm

enum class NormKind : std::uint8_t {
  none,
  rms,    ///< x / sqrt(mean(x^2) + eps)
  layer,  ///< (x - mean) / sqrt(variance + eps)
};

/// y = residual + activation((weight_offset + weight) * norm(x) * (1 + scale) + shift), per row; y may be x or
/// residual.
template <Element T>
struct NormArguments {
  NormKind kind = NormKind::rms;
  float eps = 1e-6F;
  WeightVector weight{};       ///< [D]; absent: factor 1
  float weight_offset = 0.0F;  ///< 1 for norms whose stored weight is the deviation from one
  TokenRows scale{};           ///< rows [., D]
  TokenRows shift{};           ///< rows [., D]
  Activation activation = Activation::none;
  TensorView<const T, 2> residual{};
};

// ------------------------------------------------------------------------------------------- query/key norm and rope

enum class RotaryLayout : std::uint8_t {
  split,        ///< slot r of a head turns elements r and r + head_dim / 2
  interleaved,  ///< slot r of a head turns elements 2 r and 2 r + 1
};

/// Rotary embedding with the angle tables factorised by axis: an angle depends on one coordinate of one axis only, so
/// tables have one row per distinct coordinate instead of one per token.
///
/// Slot s of a row: below identity_slots nothing turns; otherwise i = s - identity_slots, axis = i mod axes, and the
/// pair turns by table[coordinate[n][axis]][i / axes]. Slots count through all heads (s = head * head_dim / 2 + r), or
/// anew in every head when per_head is set. A row that holds some heads of a longer one begins at first_slot.
struct RotaryTable {
  TensorView<const float, 2> cosine{};             ///< [coordinates of all axes, frequencies]
  TensorView<const float, 2> sine{};               ///< the same shape
  TensorView<const std::int32_t, 2> coordinate{};  ///< [N, axes]: row of the tables for each token and axis
  std::int64_t identity_slots = 0;
  std::int64_t first_slot = 0;  ///< of the row; 0 when per_head is set
  RotaryLayout layout = RotaryLayout::split;
  bool per_head = false;

  bool empty() const noexcept { return cosine.empty(); }
  RotaryTable tokens(std::int64_t begin, std::int64_t count) const {
    RotaryTable part = *this;
    if (!empty()) part.coordinate = coordinate.rows(begin, count);
    return part;
  }
};

/// x <- rotate(norm(x) * (weight_offset + weight)), in place, x [N, heads * head_dim]. With row_factors norm(x) is x
/// times its row's factor, which head_norm_factors made of the whole row: x may then hold some of its heads.
struct HeadNormArguments {
  std::int64_t heads = 1;
  NormKind kind = NormKind::rms;  ///< rms or none
  bool per_head =
      false;  ///< mean over one head (weight [head_dim]) instead of the whole row (weight [heads * head_dim])
  float eps = 1e-6F;
  WeightVector weight{};
  float weight_offset = 0.0F;
  RotaryTable rotary{};                      ///< may be empty
  TensorView<const float, 1> row_factors{};  ///< [N] or empty; only with kind rms and without per_head
};

// ------------------------------------------------------------------------------------------------------- attention

/// Softmax accumulator of N query rows and H heads, carried in fp32 from one tile of keys to the next.
struct SoftmaxStateView {
  TensorView<float, 2> accumulator{};  ///< [N, H * head_dim] sum of e^(logit - maximum) v, not normalised
  TensorView<float, 2> maximum{};      ///< [N, H] of the logits in base 2: scale * log2(e) * q.k + mask
  TensorView<float, 2> sum{};          ///< [N, H] sum of 2^(logit - maximum)

  SoftmaxStateView rows(std::int64_t begin, std::int64_t count) const {
    return {accumulator.rows(begin, count), maximum.rows(begin, count), sum.rows(begin, count)};
  }
};

/// One transport tile of keys and values for a tile of queries. Row n of q is the query at position query_begin + n,
/// row m of k and v the key at position key_begin + m. Query head h reads key head h / (heads / kv_heads).
template <Element T>
struct AttentionTile {
  TensorView<const T, 2> q{};  ///< [N, heads * head_dim]
  TensorView<const T, 2> k{};  ///< [M, kv_heads * head_dim]
  TensorView<const T, 2> v{};  ///< [M, kv_heads * head_dim]
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  float scale = 1.0F;  ///< of the logits, natural base
  std::int64_t query_begin = 0;
  std::int64_t key_begin = 0;         ///< a multiple of key_quantum
  bool causal = false;                ///< key visible iff its position <= the query's
  std::int64_t window = 0;            ///< > 0 with causal: key visible iff query - key < window
  TensorView<const float, 2> mask{};  ///< [N, M] added to the scaled logits (natural base); -infinity hides

  std::int64_t head_dim() const noexcept { return q.extent(1) / heads; }
};

// ----------------------------------------------------------------------------------------------------- convolution

enum class Padding : std::uint8_t { zeros, replicate, reflect };

/// Geometry of a convolution over axes (time, height, width) of a channels-last tensor [T, H, W, C]. Lower-dimensional
/// convolutions have extent 1 in the other axes. Output extent = (in + before + after - dilation (kernel - 1) - 1) /
/// stride + 1 per axis.
struct ConvolutionGeometry {
  Extents<3> kernel{1, 1, 1};
  Extents<3> stride{1, 1, 1};
  Extents<3> dilation{1, 1, 1};
  Extents<3> pad_before{0, 0, 0};
  Extents<3> pad_after{0, 0, 0};
  std::array<Padding, 3> padding{Padding::zeros, Padding::zeros, Padding::zeros};

  std::int64_t taps() const noexcept { return kernel[0] * kernel[1] * kernel[2]; }
  Extents<3> output_extents(const Extents<3>& input) const {
    Extents<3> output{};
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const std::int64_t reach = dilation[axis] * (kernel[axis] - 1) + 1;
      const std::int64_t padded = input[axis] + pad_before[axis] + pad_after[axis];
      expects(padded >= reach, "convolution: padded extent ", padded, " of axis ", axis, " under a kernel reaching ",
              reach);
      output[axis] = (padded - reach) / stride[axis] + 1;
    }
    return output;
  }
};

/// y = convolution(x) + bias + residual. The weight is [out, in * taps] with taps fastest: the layout of a stored
/// [out, in, kt, kh, kw] tensor. residual may be y; x may not overlap y.
template <Element T>
struct ConvolutionArguments {
  WeightMatrix weight{};
  WeightVector bias{};
  ConvolutionGeometry geometry{};
  TensorView<const T, 4> residual{};
};

/// One-dimensional transposed convolution of x [N, in] to y [(N - 1) stride + kernel - 2 padding, out]; the weight is
/// [in, out * kernel] with the kernel fastest: the layout of a stored [in, out, k] tensor.
struct TransposedConvolutionArguments {
  WeightMatrix weight{};
  WeightVector bias{};
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
};

// ------------------------------------------------------------------------------------------------------- the others

/// What an operation costs, for plans and reports: arithmetic and bytes moved to and from memory.
struct OperationCost {
  const char* name = "";
  std::int64_t flops = 0;
  std::int64_t bytes = 0;
};

/// Which of a backend's two copy queues carries a transfer.
enum class CopyQueue : std::uint8_t { in, out };

}  // namespace ltxmem
