// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "ltxmem/core/resource.hpp"
#include "ltxmem/weights/linear.hpp"

namespace ltxmem {

/// One low-rank correction of a matrix: strength * up * down.
struct LoraAdapter {
  WeightMatrix down;  ///< A [rank, in]
  WeightMatrix up;    ///< B [out, rank]
  float strength = 1.0F;
};

/// Linear layer with any number of low-rank adapters, which stay separate: the base matrix is neither changed nor
/// copied.
///
/// Computes  y = epilogue(x W^T + sum over adapters of strength * (x A^T) B^T + bias)
/// Shapes    x [N, in], W [out, in], A [rank, in], B [out, rank], y [N, out]; ranks may differ
/// Memory    N * rank * sizeof(T) bytes per adapter for x A^T, besides the largest linear_workspace_bytes of its
/// products Cost      2 N (in + out) rank flops per adapter beside the base's 2 N in out Numerics  x A^T is rounded to
/// T, everything else is summed in float and rounded once Throws    ShapeError Source    Hu et al., LoRA: Low-Rank
/// Adaptation of Large Language Models, 2021, section 4.1
template <MatrixLayer Base>
class LoraLinear {
 public:
  LoraLinear(Base base, std::vector<LoraAdapter> adapters) : base_(std::move(base)), adapters_(std::move(adapters)) {
    for (const LoraAdapter& adapter : adapters_) {
      expects(adapter.down.columns == base_.inputs(), "lora linear: adapter inputs ", adapter.down.columns,
              ", layer inputs ", base_.inputs());
      expects(adapter.up.rows == base_.outputs(), "lora linear: adapter outputs ", adapter.up.rows, ", layer outputs ",
              base_.outputs());
      expects(adapter.down.rows == adapter.up.columns, "lora linear: rank ", adapter.down.rows, " of A, ",
              adapter.up.columns, " of B");
    }
  }

  std::int64_t inputs() const noexcept { return base_.inputs(); }
  std::int64_t outputs() const noexcept { return base_.outputs(); }
  const Base& base() const noexcept { return base_; }
  std::span<const LoraAdapter> adapters() const noexcept { return adapters_; }

  template <Element T, HasLinear<T> Backend, class Out>
  void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
             Arena& arena) const {
    expects(epilogue.bias.empty(), "lora linear: the epilogue has a bias, but the layer brings its own");
    const auto scope = arena.scope();
    std::vector<LinearTerm<T>> terms{{x, base_.weight()}};
    terms.reserve(adapters_.size() + 1);
    for (const LoraAdapter& adapter : adapters_) {
      const auto reduced = arena.take<T>("lora", Extents<2>{x.extent(0), adapter.down.rows});
      const LinearTerm<T> down{x, adapter.down};
      backend.linear(std::span<const LinearTerm<T>>(&down, 1), LinearEpilogue<T>{}, reduced, arena);
      terms.push_back({reduced, adapter.up, adapter.strength});
    }
    LinearEpilogue<Out> with_bias = epilogue;
    with_bias.bias = base_.bias();
    backend.linear(std::span<const LinearTerm<T>>(terms), with_bias, y, arena);
  }

  LoraLinear slice_outputs(std::int64_t begin, std::int64_t count) const {
    std::vector<LoraAdapter> parts = adapters_;
    for (LoraAdapter& part : parts) part.up = part.up.row_slice(begin, count);
    return LoraLinear(base_.slice_outputs(begin, count), std::move(parts));
  }
  LoraLinear slice_inputs(std::int64_t begin, std::int64_t count) const {
    std::vector<LoraAdapter> parts = adapters_;
    for (LoraAdapter& part : parts) part.down = part.down.column_slice(begin, count);
    return LoraLinear(base_.slice_inputs(begin, count), std::move(parts));
  }

  template <Element T, HasLinear<T> Backend>
  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const {
    std::size_t reduced = 0;  // taken so far
    std::size_t peak = 0;
    std::size_t last = backend.template linear_workspace_bytes<T>(tokens, base_.weight());
    for (const LoraAdapter& adapter : adapters_) {
      reduced += aligned_bytes(byte_count<T>(Extents<2>{tokens, adapter.down.rows}));
      peak = std::max(peak, reduced + backend.template linear_workspace_bytes<T>(tokens, adapter.down));
      last = std::max(last, backend.template linear_workspace_bytes<T>(tokens, adapter.up));
    }
    return std::max(peak, reduced + last);
  }

 private:
  Base base_;
  std::vector<LoraAdapter> adapters_;
};

static_assert(LinearLayer<LoraLinear<DenseLinear>, float, detail::LinearArchetype>);
static_assert(LinearLayer<LoraLinear<DenseLinear>, bfloat16, detail::LinearArchetype>);

}  // namespace ltxmem
