// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "ltxmem/parallel/partition.hpp"
#include "ltxmem/weights/linear.hpp"

namespace ltxmem {

namespace detail {

/// A function of rows in which a device has a thread for every so many columns: neighbours read and write neighbours.
inline constexpr std::int64_t row_parts = 256;

/// y = residual + gate * activation(sums), a row at a time: what a linear operation does to sums of its own.
template <class Out>
struct FinishRows {
  static constexpr std::int64_t parts = row_parts;
  TensorView<const float, 2> sums;
  LinearEpilogue<Out> epilogue;
  TensorView<Out, 2> y;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const { columns(row, 0, 1); }
  LTXMEM_HOST_DEVICE void part(std::int64_t row, std::int64_t first) const { columns(row, first, parts); }
  LTXMEM_HOST_DEVICE void columns(std::int64_t row, std::int64_t first, std::int64_t step) const {
    const TokenRows& gate = epilogue.gate;
    const std::int64_t gate_row = gate.index.empty() ? 0 : gate.index(row);
    for (std::int64_t column = first; column < y.extent(1); column += step) {
      float value = activate(epilogue.activation, sums(row, column));
      if (!gate.rows.empty()) value *= gate.rows(gate_row, column);
      if (!epilogue.residual.empty()) value += static_cast<float>(epilogue.residual(row, column));
      y(row, column) = static_cast<Out>(value);
    }
  }
};

/// to = from, or zeros: the share of a rank that has no inputs.
struct StartSums {
  static constexpr std::int64_t parts = row_parts;
  TensorView<const float, 2> from;
  TensorView<float, 2> to;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const { columns(row, 0, 1); }
  LTXMEM_HOST_DEVICE void part(std::int64_t row, std::int64_t first) const { columns(row, first, parts); }
  LTXMEM_HOST_DEVICE void columns(std::int64_t row, std::int64_t first, std::int64_t step) const {
    for (std::int64_t column = first; column < to.extent(1); column += step) {
      to(row, column) = from.empty() ? 0.0F : from(row, column);
    }
  }
};

}  // namespace detail

/// One rank's share of a linear layer, made by either cut. A pair of layers that is cut by outputs first and by inputs
/// second (both of a feed-forward network; the projections of some heads and the one behind attention) needs one
/// collective in all, in the second.
///
/// Computes  by outputs: these outputs only, nothing is exchanged. By inputs: y = epilogue(sum over ranks (x_r W_r^T +
///           addend_r) + bias) on every rank, addend_r being this rank's own
/// Shapes    by outputs: x [N, in], y [N, out_r]. By inputs: x [N, in_r], y [N, out]. Shares differ, and may be zero;
///           N is the same on all ranks
/// Memory    by inputs, with more than one rank: N * out floats for the sums, and the larger of the layer's workspace
///           and the reduction's
/// Cost      by inputs: one all_reduce of N * out floats
/// Numerics  the ranks' sums are added in fp32 in their order, all ranks get the same bits; they differ from those of
///           one rank by fp32 rounding, and equal them with one rank. Chunks of tokens change no bit
/// Throws    ShapeError, OutOfMemory, RankError
/// Source    Shoeybi et al., "Megatron-LM", 2019, section 3
template <class Layer, class Ranks>
class TensorParallelLinear {
 public:
  static TensorParallelLinear by_outputs(const Layer& layer, const Partition& outputs, Ranks& ranks) {
    expects_share("outputs", layer.outputs(), outputs, ranks);
    const Segment share = outputs.segment(ranks.rank());
    return {layer.slice_outputs(share.begin, share.count), ranks, false};
  }

  static TensorParallelLinear by_inputs(const Layer& layer, const Partition& inputs, Ranks& ranks) {
    expects_share("inputs", layer.inputs(), inputs, ranks);
    const Segment share = inputs.segment(ranks.rank());
    // Nothing of the inputs begins at 0, so that the bias stays with the rank that holds the last of them.
    return summed(layer.slice_inputs(share.begin, share.count), ranks);
  }

  /// By inputs, of a layer that has been cut already: every rank gives its share, one of them with the bias.
  static TensorParallelLinear summed(Layer share, Ranks& ranks) { return {std::move(share), ranks, true}; }

  std::int64_t inputs() const noexcept { return local_.inputs(); }
  std::int64_t outputs() const noexcept { return local_.outputs(); }
  const Layer& local() const noexcept { return local_; }

  template <Element T, HasLinear<T> Backend, class Out>
  requires HasForEach<Backend>
  void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
             Arena& arena) const {
    if (!is_summed_ || ranks_->size() == 1) {
      expects(
          !is_part_ || (epilogue.residual.empty() && epilogue.gate.empty() && epilogue.activation == Activation::none),
          "tensor parallel linear: a part of the inputs takes an addend, the rest belongs to their last");
      local_.apply(backend, x, epilogue, y, arena);
      return;
    }
    expects(epilogue.bias.empty(), "tensor parallel linear: the epilogue has a bias, but the layer brings its own");
    expects(y.extent(1) == outputs() && y.extent(0) == x.extent(0), "tensor parallel linear: y ", y.extent(0), " x ",
            y.extent(1), ", expected ", x.extent(0), " x ", outputs());
    if (y.empty()) return;
    const auto scope = arena.scope();
    const auto sums = arena.take<float, 2>("partial sums of a rank", y.extents());
    const std::int64_t bytes = y.size() * static_cast<std::int64_t>(sizeof(float));
    if (inputs() == 0) {
      backend.for_each(OperationCost{"start sums", 0, bytes}, y.extent(0), detail::StartSums{epilogue.addend, sums});
    } else {
      LinearEpilogue<float> add;
      add.addend = epilogue.addend;
      local_.apply(backend, x, add, sums, arena);
    }
    ranks_->all_reduce(backend, Reduction::sum, sums, arena);
    backend.for_each(OperationCost{"finish sums", 4 * y.size(), 2 * bytes}, y.extent(0),
                     detail::FinishRows<Out>{sums, epilogue, y});
  }

  TensorParallelLinear slice_outputs(std::int64_t begin, std::int64_t count) const {
    TensorParallelLinear part = *this;
    part.local_ = local_.slice_outputs(begin, count);
    return part;
  }
  /// Consecutive slices add up on the rank; the last one sums over the ranks what the others left in its addend.
  TensorParallelLinear slice_inputs(std::int64_t begin, std::int64_t count) const {
    TensorParallelLinear part = *this;
    part.local_ = local_.slice_inputs(begin, count);
    part.is_part_ = is_part_ || (is_summed_ && begin + count < inputs());
    part.is_summed_ = is_summed_ && begin + count == inputs();
    return part;
  }

  template <Element T, HasLinear<T> Backend>
  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const {
    const std::size_t local =
        inputs() == 0 && is_summed_ && ranks_->size() > 1 ? 0 : local_.template workspace_bytes<T>(backend, tokens);
    if (!is_summed_ || ranks_->size() == 1 || tokens == 0 || outputs() == 0) return local;
    const Extents<2> sums{tokens, outputs()};
    return aligned_bytes(byte_count<float>(sums)) +
           std::max(local, ranks_->template all_reduce_workspace_bytes<float>(sums));
  }

 private:
  TensorParallelLinear(Layer local, Ranks& ranks, bool is_summed)
      : local_(std::move(local)), ranks_(&ranks), is_summed_(is_summed) {}

  static void expects_share(const char* what, std::int64_t width, const Partition& partition, const Ranks& ranks) {
    expects(partition.total() == width, "tensor parallel linear: ", what, " ", width, ", a partition of ",
            partition.total());
    expects(partition.ranks() == ranks.size(), "tensor parallel linear: a partition over ", partition.ranks(),
            " ranks of ", ranks.size());
  }

  Layer local_;
  Ranks* ranks_;
  bool is_summed_;        ///< apply ends with a sum over the ranks
  bool is_part_ = false;  ///< further inputs of this rank follow
};

namespace detail {

/// head_norm_factors across ranks: factor -> sum of squares of a rank's columns, and back from the sum of all.
struct FactorToSquares {
  TensorView<float, 1> factors;
  float width;  ///< 0: this rank has no columns
  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    factors(row) = width > 0.0F ? width / (factors(row) * factors(row)) : 0.0F;
  }
};
struct SquaresToFactor {
  TensorView<float, 1> factors;
  float width;
  float eps;
  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    factors(row) = 1.0F / std::sqrt(factors(row) / width + eps);
  }
};

}  // namespace detail

/// The factors of a query/key norm over rows that are spread over the ranks: HeadNormArguments::row_factors of some
/// heads of them.
///
/// Computes  factors[n] = 1 / sqrt(sum over ranks of the squares of row n / width + eps)
/// Shapes    x [N, columns of this rank], which may be none; factors [N] dense; N and width the same on all ranks
/// Memory    the reduction's, all_reduce_workspace_bytes<float>({N, 1})
/// Cost      one all_reduce of N floats
/// Numerics  fp32; with one rank the bits of the backend's head_norm_factors
/// Throws    ShapeError, OutOfMemory, RankError
template <Element T, class Backend, Communicator<Backend> Ranks>
requires HasHeadNorm<Backend, T> && HasForEach<Backend>
void head_norm_factors(Backend& backend, Ranks& ranks, TensorView<const T, 2> x, std::int64_t width, float eps,
                       TensorView<float, 1> factors, Arena& arena) {
  expects(factors.extent(0) == x.extent(0) && x.extent(1) <= width, "head norm factors: ", factors.extent(0),
          " factors for ", x.extent(0), " rows, ", x.extent(1), " columns of ", width);
  if (ranks.size() == 1) {
    backend.head_norm_factors(x, eps, factors);
    return;
  }
  const std::int64_t rows = x.extent(0);
  const OperationCost cost{"head norm factors", 3 * rows, 2 * rows * static_cast<std::int64_t>(sizeof(float))};
  if (x.extent(1) > 0) backend.head_norm_factors(x, 0.0F, factors);
  backend.for_each(cost, rows, detail::FactorToSquares{factors, static_cast<float>(x.extent(1))});
  ranks.all_reduce(backend, Reduction::sum, factors.template reshape<2>({rows, 1}), arena);
  backend.for_each(cost, rows, detail::SquaresToFactor{factors, static_cast<float>(width), eps});
}

}  // namespace ltxmem
