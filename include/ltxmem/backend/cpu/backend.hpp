// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/cpu/copy_worker.hpp"
#include "ltxmem/backend/cpu/head_norm.hpp"
#include "ltxmem/backend/cpu/norm.hpp"
#include "ltxmem/backend/cpu/portable_gemm.hpp"
#include "ltxmem/backend/cpu/target.hpp"
#include "ltxmem/backend/cpu/thread_pool.hpp"

namespace ltxmem {

struct CpuOptions {
  int threads = 1;
  std::stop_token stop{};  ///< when it fires, the running operation is abandoned and throws Cancelled
};

/// Computes on the processor, with its own threads, in the calling thread's order.
///
/// Numerics  the same bits for every thread count, token chunk and tile size: work is cut into fixed items, and a row's
///           arithmetic depends neither on its neighbours nor on its place in a tile
/// Memory    nothing but the threads' stacks; scratch comes from the arenas handed to the operations
/// Threads   one caller at a time
template <class Gemm = PortableGemm, class AttentionKernel = PortableAttention>
class CpuBackend {
 public:
  using Target = CpuTarget<Gemm>;

  struct Event {
    CopyWorker* worker = nullptr;
    std::uint64_t ticket = 0;
  };

  explicit CpuBackend(CpuOptions options = {}) : pool_(options.threads, std::move(options.stop)) {}

  Target target() const noexcept { return {pool_.threads()}; }
  int threads() const noexcept { return pool_.threads(); }
  StreamRef stream() const noexcept { return {}; }

  template <Element T, class Out>
  void linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
              Arena& arena) {
    cpu::linear<T>(pool_, gemm_, terms, epilogue, y, arena);
  }
  template <Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const WeightMatrix& weight) const {
    return target().template linear_workspace_bytes<T>(tokens, weight);
  }

  template <Element T>
  void norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
    cpu::norm(pool_, x, arguments, y);
  }
  template <Element T>
  void head_norm(TensorView<T, 2> x, const HeadNormArguments& arguments) {
    cpu::head_norm(pool_, x, arguments);
  }

  template <Element T>
  void head_norm_factors(TensorView<const T, 2> x, float eps, TensorView<float, 1> factors) {
    cpu::head_norm_factors(pool_, x, eps, factors);
  }

  void attention_reset(SoftmaxStateView state) { cpu::attention_reset(pool_, state); }
  template <Element T>
  void attention_append(const AttentionTile<T>& tile, SoftmaxStateView state, Arena& arena) {
    cpu::attention_append<AttentionKernel>(pool_, tile, state, arena);
  }
  void attention_merge(SoftmaxStateView from, SoftmaxStateView into) { cpu::attention_merge(pool_, from, into); }
  template <Element T>
  void attention_finalize(SoftmaxStateView state, TensorView<const float, 2> gate, TensorView<T, 2> out,
                          TensorView<float, 2> natural_lse) {
    cpu::attention_finalize(pool_, state, gate, out, natural_lse);
  }
  template <Element T>
  std::size_t attention_workspace_bytes(const AttentionTile<T>& tile) const {
    return target().attention_workspace_bytes(tile);
  }

  template <Element T>
  void convolve(TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y, Arena& arena) {
    cpu::convolve(pool_, gemm_, x, arguments, y, arena);
  }
  template <Element T>
  void convolve_transposed(TensorView<const T, 2> x, const TransposedConvolutionArguments& arguments,
                           TensorView<T, 2> y, Arena& arena) {
    cpu::convolve_transposed(pool_, gemm_, x, arguments, y, arena);
  }
  template <Element T>
  std::size_t convolution_workspace_bytes(const WeightMatrix& weight, const ConvolutionGeometry& geometry) const {
    return target().template convolution_workspace_bytes<T>(weight, geometry);
  }
  template <Element T>
  std::size_t transposed_workspace_bytes(const TransposedConvolutionArguments& arguments) const {
    return target().template transposed_workspace_bytes<T>(arguments);
  }

  template <class Fn>
  void for_each(const OperationCost&, std::int64_t count, Fn fn) {
    const std::int64_t grain = std::clamp<std::int64_t>(count / 64, 1, 4096);
    pool_.parallel_for(ceil_div(count, grain), [&](std::int64_t item, int) {
      const std::int64_t end = std::min(count, (item + 1) * grain);
      for (std::int64_t i = item * grain; i < end; ++i) fn(i);
    });
  }

  template <class From, class To>
  void copy(TensorView<const From, 2> from, TensorView<To, 2> to) {
    detail::check_copy(from.extents(), to.extents());
    pool_.parallel_for(ceil_div(from.extent(0), row_quantum), [&](std::int64_t item, int) {
      const std::int64_t begin = item * row_quantum;
      const std::int64_t count = std::min(row_quantum, from.extent(0) - begin);
      copy_rows(from.rows(begin, count), to.rows(begin, count));
    });
  }

  template <class T>
  Event copy_async(CopyQueue queue, TensorView<const T, 2> from, TensorView<T, 2> to) {
    detail::check_copy(from.extents(), to.extents());
    std::optional<CopyWorker>& worker = queue == CopyQueue::in ? copy_in_ : copy_out_;
    if (!worker) worker.emplace();
    return {&*worker, worker->push([from, to] { copy_rows(from, to); })};
  }
  void wait(Event event) { synchronize(event); }
  void synchronize(Event event) {
    if (event.worker != nullptr) event.worker->wait(event.ticket);
  }

  /// Calls listener(name, index) in the calling thread whenever a named step begins; an empty one ends that.
  void on_step(std::function<void(const char*, std::int64_t)> listener) { step_listener_ = std::move(listener); }
  void enter_step(const char* name, std::int64_t index) {
    if (step_listener_) step_listener_(name, index);
  }
  void leave_step() noexcept {}
  bool collapses_loops() const noexcept { return false; }
  void begin_repeated(std::int64_t) noexcept {}
  void end_repeated() noexcept {}

 private:
  template <class From, class To>
  static void copy_rows(TensorView<const From, 2> from, TensorView<To, 2> to) {
    for (std::int64_t row = 0; row < from.extent(0); ++row) {
      if constexpr (std::is_same_v<From, To>) {
        if (from.stride(1) == 1 && to.stride(1) == 1) {
          std::memcpy(to.data() + row * to.stride(0), from.data() + row * from.stride(0),
                      static_cast<std::size_t>(from.extent(1)) * sizeof(From));
          continue;
        }
      }
      for (std::int64_t column = 0; column < from.extent(1); ++column) {
        if constexpr (std::is_same_v<From, To>) {
          to(row, column) = from(row, column);
        } else {
          to(row, column) = static_cast<To>(static_cast<float>(from(row, column)));
        }
      }
    }
  }

  ThreadPool pool_;
  Gemm gemm_;
  std::function<void(const char*, std::int64_t)> step_listener_;
  std::optional<CopyWorker> copy_in_;
  std::optional<CopyWorker> copy_out_;
};

static_assert(Backend<CpuBackend<>, float> && Backend<CpuBackend<>, bfloat16> && Backend<CpuBackend<>, half>);

}  // namespace ltxmem
