// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cuda/arguments.cuh"
#include "ltxmem/backend/cuda/cuda_product.hpp"
#include "ltxmem/backend/cuda/kernels/linear.cuh"
#include "ltxmem/backend/cuda/launch.cuh"
#include "ltxmem/backend/cuda/target.hpp"
#include "ltxmem/memory/arena.hpp"

/// Linear layers on a device: y = residual + gate * activation(sum of x W^T + addend + bias).
///
/// One term whose epilogue cuBLASLt has is a product that writes y. Everything else sums its products in a tile of fp32
/// and finishes it with an epilogue of ours. Weights of another type than T are expanded, a block of outputs at a time,
/// once for all tokens; only where several terms need that do they take turns for each tile of rows.

namespace ltxmem::cuda {

/// to = from with contiguous columns, any number of rows.
template <class From, Element To>
void cast(Rows<const From> from, Rows<To> to, std::int64_t rows, std::int64_t columns, cudaStream_t stream) {
  const bool grouped = moves_in_groups(from, columns, 4) && moves_in_groups(to, columns, 4);
  const std::int64_t blocks = ceil_div(columns, std::int64_t{row_threads} * (grouped ? 4 : 1));
  const auto kernel = grouped ? &cast_rows<From, To, 4> : &cast_rows<From, To, 1>;
  for (std::int64_t begin = 0; begin < rows; begin += grid_y_limit) {
    launch("cast_rows", kernel, {blocks, std::min(grid_y_limit, rows - begin)}, row_threads, 0, stream,
           Rows<const From>{from.data + begin * from.stride, from.stride},
           Rows<To>{to.data + begin * to.stride, to.stride}, columns);
  }
}

template <Element T, class Out>
class LinearCall {
 public:
  LinearCall(Products& products, cudaStream_t stream, std::span<const LinearTerm<T>> terms,
             const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y)
      : products_(products), stream_(stream), terms_(terms), epilogue_(epilogue), y_(y) {
    columns_ = linear_columns;
    for (const LinearTerm<T>& term : terms) {
      const WeightMatrix& weight = term.weight;
      expects(weight.columns > 0, "linear on a CUDA device: a term without inputs");
      expects(reinterpret_cast<std::uintptr_t>(weight.data) % dtype_bytes(weight.dtype) == 0,
              "linear on a CUDA device: the address of a weight is no multiple of its element's ",
              dtype_bytes(weight.dtype), " bytes");
      const LinearLayout layout = linear_layout<T>(y.extent(0), weight);
      columns_ = std::min(columns_, layout.columns);
      rows_ = layout.rows;
      bytes_ = std::max(bytes_, layout.bytes());
    }
  }

  std::size_t bytes() const noexcept { return bytes_; }

  void run(std::byte* memory) {
    workspace_ = memory;
    factors_ = reinterpret_cast<float*>(memory + product_workspace_bytes);
    auto* const sums = reinterpret_cast<float*>(memory + product_workspace_bytes + buffer_alignment);
    panel_ = reinterpret_cast<T*>(reinterpret_cast<std::byte*>(sums) +
                                  aligned_bytes(byte_count<float>(Extents<2>{rows_, columns_})));
    for (std::int64_t column = 0; column < y_.extent(1); column += columns_) {
      const std::int64_t width = std::min(columns_, y_.extent(1) - column);
      expanded_ = nullptr;
      if (library_finishes(column)) {
        multiply_into_y(column, width);
        continue;
      }
      for (std::int64_t row = 0; row < y_.extent(0); row += rows_) {
        const TensorView<float, 2> tile(sums, {std::min(rows_, y_.extent(0) - row), width});
        for (const LinearTerm<T>& term : terms_) {
          Product product = product_of(term, row, tile.extent(0), column, width, &term != terms_.data());
          product.result = DType::f32;
          product.y = sums;
          product.y_stride = width;
          if (&term != terms_.data()) {
            product.c = sums;
            product.c_stride = width;
          }
          products_.multiply(product, workspace_, stream_);
        }
        finish(tile, row, column);
      }
    }
  }

 private:
  static constexpr std::size_t bias_alignment = 16;

  /// What the library adds to a product before it rounds: the addend where sums are asked for, or else the residual.
  TensorView<const Out, 2> summand() const {
    if constexpr (std::is_same_v<Out, float>) {
      if (!epilogue_.addend.empty()) return epilogue_.addend;
    }
    return epilogue_.residual;
  }

  /// The library's GELU uses the device's approximate tanh, which is good enough for 16 bits and not for 32.
  bool library_finishes(std::int64_t column) const {
    if (terms_.size() != 1 || !epilogue_.gate.empty()) return false;
    if (!epilogue_.addend.empty() && (!std::is_same_v<Out, float> || !epilogue_.residual.empty())) return false;
    const bool gelu = epilogue_.activation == Activation::gelu_tanh && !std::is_same_v<Out, float>;
    if (epilogue_.activation != Activation::none && !(gelu && summand().empty())) return false;
    const WeightVector& bias = epilogue_.bias;
    return bias.empty() || (bias.dtype == dtype_of<Out> && (reinterpret_cast<std::uintptr_t>(bias.data) +
                                                            static_cast<std::size_t>(column) * sizeof(Out)) %
                                                                   bias_alignment ==
                                                               0);
  }

  void multiply_into_y(std::int64_t column, std::int64_t width) {
    const TensorView<const Out, 2> added = summand();
    Product product = product_of(terms_[0], 0, y_.extent(0), column, width, !added.empty());
    product.result = dtype_of<Out>;
    product.y = y_.data() + column;
    product.y_stride = y_.stride(0);
    if (!added.empty()) {
      product.c = added.data() + column;
      product.c_stride = added.stride(0);
    }
    if (!epilogue_.bias.empty()) product.bias = epilogue_.bias.slice(column, width).data;
    product.gelu = epilogue_.activation == Activation::gelu_tanh;
    products_.multiply(product, workspace_, stream_);
  }

  /// The product of a term for some rows and outputs, its weight expanded and its factors computed where that is
  /// needed.
  Product product_of(const LinearTerm<T>& term, std::int64_t row, std::int64_t rows, std::int64_t column,
                     std::int64_t width, bool adds) {
    const WeightMatrix block = term.weight.row_slice(column, width);
    Product product;
    product.type = dtype_of<T>;
    product.tokens = rows;
    product.outputs = width;
    product.inputs = block.columns;
    product.x = term.x.data() + row * term.x.stride(0);
    product.x_stride = term.x.stride(0);
    product.weight = block.data;
    product.weight_stride = block.row_stride;
    product.alpha = term.strength;
    if (block.dtype != dtype_of<T>) {
      if (expanded_ != &term) expand(block);
      expanded_ = &term;
      product.weight = panel_;
      product.weight_stride = block.columns;
    }
    if (block.scale != nullptr) {
      launch("product_factors", &product_factors<0>, {}, 1, 0, stream_, term.strength, block.scale, adds ? 1.0F : 0.0F,
             factors_);
      product.factors = factors_;
    }
    return product;
  }

  void expand(const WeightMatrix& block) {
    with_floating_type(block.dtype, [&]<class W>(const W*) {
      cast<W, T>({reinterpret_cast<const W*>(block.data), block.row_stride}, {panel_, block.columns}, block.rows,
                 block.columns, stream_);
    });
  }

  void finish(TensorView<const float, 2> sums, std::int64_t row, std::int64_t column) const {
    const std::int64_t rows = sums.extent(0);
    const std::int64_t width = sums.extent(1);
    FinishKernelArguments<Out> a;
    a.sums = rows_of(sums);
    if (!epilogue_.addend.empty()) a.addend = rows_of(epilogue_.addend.rows(row, rows).columns(column, width));
    if (!epilogue_.bias.empty()) a.bias = weight_of(epilogue_.bias.slice(column, width));
    a.activation = epilogue_.activation;
    if (!epilogue_.gate.empty()) {
      a.gate = token_rows_of(epilogue_.gate.tokens(row, rows));
      a.gate.data += column;
    }
    if (!epilogue_.residual.empty()) a.residual = rows_of(epilogue_.residual.rows(row, rows).columns(column, width));
    a.y = rows_of(y_.rows(row, rows).columns(column, width));
    a.columns = width;
    const bool grouped = moves_in_groups(a.sums, width, 4) && moves_in_groups(a.addend, width, 4) &&
                         moves_in_groups(a.residual, width, 4) && moves_in_groups(a.y, width, 4);
    launch("finish_linear", grouped ? &finish_linear<Out, 4> : &finish_linear<Out, 1>,
           {ceil_div(width, std::int64_t{row_threads} * (grouped ? 4 : 1)), rows}, row_threads, 0, stream_, a);
  }

  Products& products_;
  cudaStream_t stream_;
  std::span<const LinearTerm<T>> terms_;
  const LinearEpilogue<Out>& epilogue_;
  TensorView<Out, 2> y_;
  std::int64_t columns_ = 0;
  std::int64_t rows_ = 0;
  std::size_t bytes_ = 0;
  std::byte* workspace_ = nullptr;
  float* factors_ = nullptr;
  T* panel_ = nullptr;
  const LinearTerm<T>* expanded_ = nullptr;  ///< whose weights the panel holds
};

template <Element T, class Out>
void linear(Products& products, cudaStream_t stream, std::span<const LinearTerm<T>> terms,
            const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y, Arena& arena) {
  ltxmem::detail::check_linear(terms, epilogue, y);
  if (y.empty()) return;
  LinearCall<T, Out> call(products, stream, terms, epilogue, y);
  const auto scope = arena.scope();
  call.run(static_cast<std::byte*>(arena.take_bytes("linear workspace", call.bytes())));
}

}  // namespace ltxmem::cuda
