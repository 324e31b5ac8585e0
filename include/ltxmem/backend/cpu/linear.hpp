// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/cpu/elementwise.hpp"
#include "ltxmem/backend/cpu/gemm.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"
#include "ltxmem/backend/cpu/weight_panel.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

/// Linear layers on the processor: y = residual + gate * activation(sum of x W^T + addend + bias).
///
/// The output is cut into tiles of row_quantum rows and one block of columns. A tile is one work item: its products are
/// single-threaded gemm calls into float memory of the worker, its epilogue rounds once and writes y. The width of the
/// blocks follows from the layer alone, so neither threads nor chunks move a column.
///
/// A weight of another type than T (or at an address that no T may have, or with gaps that the gemm does not take) is
/// expanded to T, a block of rows at a time, into memory of the worker; an item then covers panel_quanta tiles, so that
/// one expansion serves many tokens. An x with gaps between its rows is copied, some rows at a time, for a gemm that
/// takes none.

namespace ltxmem::cpu {

namespace detail {

inline constexpr std::int64_t panel_quanta = 16;

/// What one worker needs for one term.
struct LinearLayout {
  std::int64_t columns = 0;       ///< of a block
  std::size_t tile_bytes = 0;     ///< row quantum by columns, float
  std::size_t scratch_bytes = 0;  ///< of the gemm
  std::size_t rows_bytes = 0;     ///< copied rows of x, T
  std::size_t panel_bytes = 0;    ///< columns by inputs, T; zero when the weight is used in place

  std::size_t bytes() const noexcept { return tile_bytes + scratch_bytes + rows_bytes + panel_bytes; }
};

/// Bytes for copied rows of x: half a MiB, or one row where that is longer.
template <class Gemm, Element T>
std::size_t rows_bytes(std::int64_t inputs) {
  constexpr std::int64_t usual = (std::int64_t{1} << 19) / static_cast<std::int64_t>(sizeof(T));
  return Gemm::dense_operands ? aligned_bytes(byte_count<T>(Extents<1>{std::max(inputs, usual)})) : 0;
}

/// Bytes of a block of weight rows expanded to T.
template <class Gemm, Element T>
std::size_t panel_bytes(std::int64_t columns, const WeightMatrix& weight) {
  return needs_panel<Gemm, T>(weight) ? aligned_bytes(byte_count<T>(Extents<2>{columns, weight.columns})) : 0;
}

/// A sixteenth of the outputs, so that short sequences keep many cores busy; narrower where an expanded panel would
/// exceed 4 MiB.
template <class Gemm, Element T>
LinearLayout linear_layout(std::int64_t tokens, const WeightMatrix& weight) {
  constexpr std::int64_t narrowest = 32;
  LinearLayout layout;
  layout.columns = std::clamp(round_up(ceil_div(weight.rows, 16), 64), std::int64_t{64}, gemm_columns);
  if (needs_panel<Gemm, T>(weight)) {
    constexpr std::int64_t panel_elements = (std::int64_t{4} << 20) / static_cast<std::int64_t>(sizeof(T));
    const std::int64_t fitting = panel_elements / std::max<std::int64_t>(weight.columns, 1) / narrowest * narrowest;
    layout.columns = std::clamp(fitting, narrowest, layout.columns);
  }
  layout.columns = std::min(layout.columns, round_up(weight.rows, narrowest));
  layout.tile_bytes = aligned_bytes(byte_count<float>(Extents<2>{std::min(tokens, row_quantum), layout.columns}));
  layout.scratch_bytes = aligned_bytes(Gemm::template scratch_bytes<T>());
  layout.rows_bytes = rows_bytes<Gemm, T>(weight.columns);
  layout.panel_bytes = panel_bytes<Gemm, T>(layout.columns, weight);
  return layout;
}

/// Applies the epilogue to a tile of sums, which it overwrites, and writes the tile of y that begins at (row, column).
template <class Out>
void finish_tile(TensorView<float, 2> sums, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y, std::int64_t row,
                 std::int64_t column) {
  const std::int64_t width = sums.extent(1);
  std::array<float, gemm_columns> other;
  std::array<float, gemm_columns> bias;
  if (!epilogue.bias.empty()) widen(epilogue.bias, column, width, bias.data());
  for (std::int64_t n = 0; n < sums.extent(0); ++n) {
    float* values = &sums(n, 0);
    if (!epilogue.addend.empty()) {
      const float* addend = &epilogue.addend(row + n, column);
      for (std::int64_t i = 0; i < width; ++i) values[i] += addend[i];
    }
    if (!epilogue.bias.empty()) {
      for (std::int64_t i = 0; i < width; ++i) values[i] += bias[static_cast<std::size_t>(i)];
    }
    activate(epilogue.activation, values, width);
    if (!epilogue.gate.empty()) {
      const TokenRows& gate = epilogue.gate;
      const float* factor = &gate.rows(gate.index.empty() ? 0 : gate.index(row + n), column);
      for (std::int64_t i = 0; i < width; ++i) values[i] *= factor[i];
    }
    if (!epilogue.residual.empty()) {
      widen(&epilogue.residual(row + n, column), width, other.data());
      for (std::int64_t i = 0; i < width; ++i) values[i] += other[static_cast<std::size_t>(i)];
    }
    narrow(values, width, &y(row + n, column));
  }
}

/// One call of linear: where its workers keep what, and how they compute an item.
template <Element T, class Out, class Gemm>
class LinearCall {
 public:
  LinearCall(const Gemm& gemm, std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue,
             TensorView<Out, 2> y)
      : gemm_(gemm), terms_(terms), epilogue_(epilogue), y_(y) {
    std::size_t all_panels = 0;
    columns_ = gemm_columns;
    for (const LinearTerm<T>& term : terms) {
      const LinearLayout layout = linear_layout<Gemm, T>(y.extent(0), term.weight);
      columns_ = std::min(columns_, layout.columns);
      worker_bytes_ = std::max(worker_bytes_, layout.bytes());
      scratch_bytes_ = layout.scratch_bytes;
      rows_bytes_ = std::max(rows_bytes_, layout.rows_bytes);
    }
    // Sum and product share the tile's memory when there are several terms, so blocks are half as wide.
    if (terms.size() > 1) columns_ /= 2;
    for (const LinearTerm<T>& term : terms) {
      all_panels += panel_bytes<Gemm, T>(columns_, term.weight);
    }
    tile_elements_ = std::min(y.extent(0), row_quantum) * columns_;
    keep_panels_ = rows_begin() + rows_bytes_ + all_panels <= worker_bytes_;
    group_ = all_panels > 0 ? panel_quanta : 1;
    groups_ = ceil_div(ceil_div(y.extent(0), row_quantum), group_);
  }

  std::size_t worker_bytes() const noexcept { return worker_bytes_; }
  std::int64_t items() const noexcept { return groups_ * ceil_div(y_.extent(1), columns_); }

  /// Items that share a block of columns follow one another, so that its weights stay in the shared cache.
  void compute(std::int64_t item, std::byte* memory, const ThreadPool& pool) const {
    const std::int64_t column = item / groups_ * columns_;
    const std::int64_t width = std::min(columns_, y_.extent(1) - column);
    const std::int64_t begin = item % groups_ * group_ * row_quantum;
    const std::int64_t end = std::min(y_.extent(0), begin + group_ * row_quantum);
    for (std::int64_t row = begin; row < end && !pool.stop_requested(); row += row_quantum) {
      const Extents<2> extents{std::min(row_quantum, end - row), width};
      const TensorView<float, 2> sums(reinterpret_cast<float*>(memory), extents);
      const TensorView<float, 2> product(sums.data() + tile_elements_, extents);
      std::byte* kept = memory + rows_begin() + rows_bytes_;
      for (const LinearTerm<T>& term : terms_) {
        const bool first = &term == terms_.data();
        TensorView<const T, 2> weight(reinterpret_cast<const T*>(term.weight.row_slice(column, width).data),
                                      {width, term.weight.columns}, {term.weight.row_stride, 1});
        if (needs_panel<Gemm, T>(term.weight)) {
          std::byte* panel = keep_panels_ ? kept : memory + rows_begin() + rows_bytes<Gemm, T>(term.weight.columns);
          if (row == begin || !keep_panels_) {
            expand_panel(term.weight, column, width, reinterpret_cast<T*>(panel));
          }
          weight = {reinterpret_cast<const T*>(panel), {width, term.weight.columns}};
          if (keep_panels_) kept += panel_bytes<Gemm, T>(columns_, term.weight);
        }
        multiply(term.x.rows(row, extents[0]), weight, first ? sums : product, memory);
        accumulate(term, first, product, sums);
      }
      with_wide_vectors([&] { finish_tile(sums, epilogue_, y_, row, column); });
    }
  }

 private:
  std::size_t scratch_begin() const noexcept {
    return aligned_bytes(static_cast<std::size_t>(tile_elements_) * sizeof(float) * (terms_.size() > 1 ? 2 : 1));
  }
  std::size_t rows_begin() const noexcept { return scratch_begin() + scratch_bytes_; }

  void multiply(TensorView<const T, 2> x, TensorView<const T, 2> weight, TensorView<float, 2> product,
                std::byte* memory) const {
    if (!Gemm::dense_operands || x.is_dense()) {
      gemm_.multiply(x, weight, product, memory + scratch_begin());
      return;
    }
    T* rows = reinterpret_cast<T*>(memory + rows_begin());
    const std::int64_t most = static_cast<std::int64_t>(rows_bytes<Gemm, T>(x.extent(1)) / sizeof(T)) / x.extent(1);
    for (std::int64_t begin = 0; begin < x.extent(0); begin += most) {
      const std::int64_t count = std::min(most, x.extent(0) - begin);
      for (std::int64_t row = 0; row < count; ++row) {
        std::memcpy(rows + row * x.extent(1), x.data() + (begin + row) * x.stride(0),
                    static_cast<std::size_t>(x.extent(1)) * sizeof(T));
      }
      gemm_.multiply(TensorView<const T, 2>(rows, {count, x.extent(1)}), weight, product.rows(begin, count),
                     memory + scratch_begin());
    }
  }

  static void accumulate(const LinearTerm<T>& term, bool first, TensorView<float, 2> product,
                         TensorView<float, 2> sums) {
    const float factor = term.strength * (term.weight.scale == nullptr ? 1.0F : *term.weight.scale);
    float* to = sums.data();
    if (!first) {
      const float* from = product.data();
      for (std::int64_t i = 0; i < sums.size(); ++i) to[i] += factor * from[i];
    } else if (factor != 1.0F) {
      for (std::int64_t i = 0; i < sums.size(); ++i) to[i] *= factor;
    }
  }

  const Gemm& gemm_;
  std::span<const LinearTerm<T>> terms_;
  const LinearEpilogue<Out>& epilogue_;
  TensorView<Out, 2> y_;
  std::int64_t columns_ = 0;
  std::int64_t group_ = 1;   // tiles that one item computes
  std::int64_t groups_ = 0;  // items of one block of columns
  std::size_t worker_bytes_ = 0;
  std::size_t scratch_bytes_ = 0;
  std::size_t rows_bytes_ = 0;
  std::int64_t tile_elements_ = 0;
  /// The panels of all terms fit behind the longest copied rows, so each is expanded once per item. If not, the terms
  /// take turns: each has its own rows and panel in the memory that its layout asked for, expanded once per tile.
  bool keep_panels_ = false;
};

}  // namespace detail

/// Scratch of one linear operation: per thread a tile, the gemm's scratch and, where needed, an expanded panel. The
/// scratch of an operation with several terms is the maximum over its terms.
template <class Gemm, Element T>
std::size_t linear_workspace_bytes(int threads, std::int64_t tokens, const WeightMatrix& weight) {
  if (tokens == 0 || weight.rows == 0) return 0;
  return static_cast<std::size_t>(threads) * detail::linear_layout<Gemm, T>(tokens, weight).bytes();
}

template <Element T, class Out, class Gemm>
void linear(ThreadPool& pool, const Gemm& gemm, std::span<const LinearTerm<T>> terms,
            const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y, Arena& arena) {
  static_assert(CpuGemm<Gemm, T>, "CpuBackend: the Gemm parameter does not model CpuGemm");
  ltxmem::detail::check_linear(terms, epilogue, y);
  check_row_numbers("linear", "gate", epilogue.gate);
  if (y.empty()) return;
  const detail::LinearCall<T, Out, Gemm> call(gemm, terms, epilogue, y);
  const auto scope = arena.scope();
  const auto threads = static_cast<std::size_t>(pool.threads());
  auto* memory = static_cast<std::byte*>(arena.take_bytes("linear", threads * call.worker_bytes()));
  pool.parallel_for(call.items(), [&](std::int64_t item, int worker) {
    call.compute(item, memory + static_cast<std::size_t>(worker) * call.worker_bytes(), pool);
  });
}

}  // namespace ltxmem::cpu
