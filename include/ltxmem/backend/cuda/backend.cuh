// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <nvtx3/nvToolsExt.h>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "ltxmem/backend/cuda/cuda_pageable.hpp"
#include "ltxmem/backend/cuda/cuda_stream.hpp"
#include "ltxmem/backend/cuda/linear.cuh"

namespace ltxmem {

/// Computes on one CUDA device: products by cuBLASLt, everything else by the kernels of this folder. Operations are
/// queued on a stream and return before they are done; copies of the two queues have streams of their own.
///
/// Views and weights lie on the device; copies also read and write host memory, where only page-locked memory lets them
/// overlap. Numbers that lie on the device, such as the rows that tokens ask for, are not checked.
///
/// Numerics  as CpuBackend: fp32 sums, one rounding, no bit depends on how rows were cut. Attention with heads of 64,
///           128 or 256 in 16 bits and at addresses that are multiples of 16 bytes runs on the matrix units and rounds
///           its weights to T, and so do convolutions of channels in eights; every other one runs in fp32
/// Memory    scratch comes from the arenas handed to the operations, by the formulas of CudaTarget
/// Threads   one caller at a time, the one that made the backend or one where its device is current: make_current()
/// Throws    DeviceError without a usable device; CudaError from the first call that notices a failure
class CudaBackend {
 public:
  using Target = CudaTarget;
  /// None: has happened.
  using Event = std::shared_ptr<const CudaEvent>;

  explicit CudaBackend(int device = 0) : device_(made_current(find_cuda_device(device))) {}

  const CudaDevice& device() const noexcept { return device_; }
  /// In the calling thread.
  void make_current() const { static_cast<void>(made_current(device_)); }
  Target target() const noexcept { return {}; }
  StreamRef stream() const noexcept { return stream_.ref(); }
  /// The calling thread waits for everything given to the backend, copies included.
  void synchronize() {
    copy_in_.synchronize();
    copy_out_.synchronize();
    stream_.synchronize();
  }

  template <Element T, class Out>
  void linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
              Arena& arena) {
    cuda::linear<T>(products_, stream_.native(), terms, epilogue, y, arena);
  }
  template <Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const WeightMatrix& weight) const {
    return target().template linear_workspace_bytes<T>(tokens, weight);
  }

  template <Element T>
  void norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
    detail::check_norm(x, arguments, y);
    if (x.empty()) return;
    constexpr int wide = 16 / sizeof(T);
    const auto a = cuda::norm_arguments(x, arguments, y);
    const bool grouped = cuda::moves_in_groups(a.x, a.channels, wide) && cuda::moves_in_groups(a.y, a.channels, wide) &&
                         cuda::moves_in_groups(a.residual, a.channels, wide);
    cuda::launch("norm_rows", grouped ? &cuda::norm_rows<T, wide> : &cuda::norm_rows<T, 1>, {x.extent(0)},
                 cuda::row_threads, sizeof(cuda::NormShared), stream_.native(), a);
  }
  template <Element T>
  void head_norm(TensorView<T, 2> x, const HeadNormArguments& arguments) {
    detail::check_head_norm(x, arguments);
    if (x.empty()) return;
    cuda::launch("head_norm_rows", &cuda::head_norm_rows<T>, {x.extent(0)}, cuda::row_threads, sizeof(cuda::NormShared),
                 stream_.native(), cuda::head_norm_arguments(x, arguments));
  }
  template <Element T>
  void head_norm_factors(TensorView<const T, 2> x, float eps, TensorView<float, 1> factors) {
    detail::check_head_norm_factors(x, factors);
    cuda::launch("head_norm_factors", &cuda::head_norm_factors<T>, {x.extent(0)}, cuda::row_threads,
                 sizeof(cuda::NormShared), stream_.native(), cuda::rows_of(x), x.extent(1), eps, factors.data(),
                 factors.stride(0));
  }

  void attention_reset(SoftmaxStateView state) {
    detail::check_softmax_state(state);
    if (state.maximum.empty()) return;
    cuda::launch("reset_states", &cuda::reset_states<0>, state_grid(state), cuda::row_threads, 0, stream_.native(),
                 cuda::state_of(state), state.maximum.extent(0), state.maximum.extent(1), head_dim(state));
  }
  template <Element T>
  void attention_append(const AttentionTile<T>& tile, SoftmaxStateView state, Arena&) {
    detail::check_attention(tile, state);
    if (tile.q.empty() || tile.k.empty()) return;
    const auto a = cuda::attention_arguments(tile, state);
    if constexpr (!std::is_same_v<T, float>) {
      const bool aligned = cuda::moves_in_groups(a.q, tile.q.extent(1), 8) &&
                           cuda::moves_in_groups(a.k, tile.k.extent(1), 8) &&
                           cuda::moves_in_groups(a.v, tile.v.extent(1), 8) &&
                           cuda::moves_in_groups(a.state.accumulator, tile.q.extent(1), 2);
      if (aligned && a.head_dim == 64) return flash_attention<64>(a, tile.heads);
      if (aligned && a.head_dim == 128) return flash_attention<128>(a, tile.heads);
      if (aligned && a.head_dim == 256) return flash_attention<256>(a, tile.heads);
    }
    expects(a.head_dim <= cuda::plain_head_limit, "attention on a CUDA device: heads of ", a.head_dim, ", at most ",
            cuda::plain_head_limit);
    cuda::launch("plain_attention", &cuda::plain_attention<T>,
                 {ceil_div(a.queries, cuda::plain_query_rows), tile.heads}, cuda::plain_threads,
                 sizeof(cuda::PlainAttentionShared), stream_.native(), a);
  }
  void attention_merge(SoftmaxStateView from, SoftmaxStateView into) {
    detail::check_attention_merge(from, into);
    if (into.maximum.empty()) return;
    cuda::launch("merge_states", &cuda::merge_states<0>, state_grid(into), cuda::row_threads, 0, stream_.native(),
                 cuda::state_of(from), cuda::state_of(into), into.maximum.extent(0), into.maximum.extent(1),
                 head_dim(into));
  }
  template <Element T>
  void attention_finalize(SoftmaxStateView state, TensorView<const float, 2> gate, TensorView<T, 2> out,
                          TensorView<float, 2> natural_lse) {
    detail::check_attention_finalize<T>(state, gate, out, natural_lse);
    if (state.maximum.empty()) return;
    const auto check_columns = [](const char* what, const auto& view) {
      expects(view.extent(1) <= 1 || view.stride(1) == 1, "attention: columns of ", what, " are not contiguous");
    };
    check_columns("gate", gate);
    check_columns("out", out);
    check_columns("lse", natural_lse);
    cuda::launch("finalize_states", &cuda::finalize_states<T>, state_grid(state), cuda::row_threads, 0,
                 stream_.native(), cuda::state_of(state), cuda::rows_or_none(gate), cuda::rows_of(out),
                 cuda::rows_or_none(natural_lse), state.maximum.extent(0), state.maximum.extent(1), head_dim(state));
  }
  template <Element T>
  std::size_t attention_workspace_bytes(const AttentionTile<T>& tile) const {
    return target().attention_workspace_bytes(tile);
  }

  template <Element T>
  void convolve(TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y, Arena& arena) {
    detail::check_convolution(x, arguments, y);
    if (!y.empty()) convolution<T>(cuda::convolution_arguments(x, arguments, y), arena);
  }
  template <Element T>
  void convolve_transposed(TensorView<const T, 2> x, const TransposedConvolutionArguments& arguments,
                           TensorView<T, 2> y, Arena& arena) {
    detail::check_transposed(x, arguments, y);
    if (!y.empty()) convolution<T>(cuda::transposed_arguments(x, arguments, y), arena);
  }
  template <Element T>
  std::size_t convolution_workspace_bytes(const WeightMatrix& weight, const ConvolutionGeometry& geometry) const {
    return target().template convolution_workspace_bytes<T>(weight, geometry);
  }
  template <Element T>
  std::size_t transposed_workspace_bytes(const TransposedConvolutionArguments& arguments) const {
    return target().template transposed_workspace_bytes<T>(arguments);
  }

  /// fn is a named type whose operator() runs on the device (LTXMEM_HOST_DEVICE): kernels take no lambda of the host.
  /// One that HasParts is given as many threads for each call.
  template <class Fn>
  void for_each(const OperationCost& cost, std::int64_t count, Fn fn) {
    static_assert(std::is_trivially_copyable_v<Fn>, "for_each: what a kernel is given must be trivially copyable");
    cuda::launch(cost.name, &cuda::for_each_item<Fn>, {ceil_div(count * cuda::threads_of_call<Fn>, cuda::row_threads)},
                 cuda::row_threads, 0, stream_.native(), fn, count);
  }

  /// Memory of the host takes part. Where the element types differ and it is pageable, the host converts and waits.
  template <class From, class To>
  void copy(TensorView<const From, 2> from, TensorView<To, 2> to) {
    detail::check_copy(from.extents(), to.extents());
    check_copied_columns(from);
    check_copied_columns(to);
    if constexpr (std::is_same_v<From, To>) {
      copy_rows(stream_, from, to);
    } else if (!from.empty() && (cuda::is_pageable(from.data()) || cuda::is_pageable(to.data()))) {
      cuda::copy_pageable(from, to, [&](const auto& part, const auto& target) { copy_rows(stream_, part, target); });
    } else {
      cuda::cast<From, To>(cuda::rows_of(from), cuda::rows_of(to), from.extent(0), from.extent(1), stream_.native());
    }
  }

  template <class T>
  Event copy_async(CopyQueue queue, TensorView<const T, 2> from, TensorView<T, 2> to) {
    detail::check_copy(from.extents(), to.extents());
    check_copied_columns(from);
    check_copied_columns(to);
    const CudaStream& copies = queue == CopyQueue::in ? copy_in_ : copy_out_;
    stream_.record(given_);
    copies.wait(given_);
    copy_rows(copies, from, to);
    auto done = std::make_shared<CudaEvent>();
    copies.record(*done);
    return done;
  }
  void wait(const Event& event) {
    if (event != nullptr) stream_.wait(*event);
  }
  void synchronize(const Event& event) {
    if (event != nullptr) event->synchronize();
  }

  /// Calls listener(name, index) in the calling thread whenever a named step is queued; an empty one ends that.
  void on_step(std::function<void(const char*, std::int64_t)> listener) { step_listener_ = std::move(listener); }
  /// Steps are ranges of NVTX, "block 3", so that a profile of a run reads like its plan.
  void enter_step(const char* name, std::int64_t index) {
    nvtxRangePushA(index < 0 ? name : (std::string(name) + ' ' + std::to_string(index)).c_str());
    if (step_listener_) step_listener_(name, index);
  }
  void leave_step() noexcept { nvtxRangePop(); }
  bool collapses_loops() const noexcept { return false; }
  void begin_repeated(std::int64_t) noexcept {}
  void end_repeated() noexcept {}

 private:
  static CudaDevice made_current(CudaDevice device) {
    cuda::check("cudaSetDevice", cudaSetDevice(device.index));
    return device;
  }

  static std::int64_t head_dim(const SoftmaxStateView& state) {
    return state.accumulator.extent(1) / state.maximum.extent(1);
  }
  static cuda::Grid state_grid(const SoftmaxStateView& state) {
    return {ceil_div(state.maximum.size(), cuda::row_threads / 32)};
  }

  template <int head_dim, Element T>
  void flash_attention(const cuda::AttentionKernelArguments<T>& a, std::int64_t heads) {
    constexpr int key_rows = cuda::flash_key_rows(head_dim);
    cuda::launch("flash_attention", &cuda::flash_attention<T, head_dim, key_rows>,
                 {ceil_div(a.queries, cuda::flash_query_rows), heads}, cuda::flash_threads,
                 sizeof(cuda::FlashShared<T, head_dim, key_rows>), stream_.native(), a);
  }

  /// The panel is taken wherever a plan has it, also for an x that the matrix units cannot be given.
  template <Element T, class Places>
  void convolution(const cuda::ConvolutionKernelArguments<Places>& a, Arena& arena) {
    const cuda::PanelLayout layout = cuda::convolution_panel<T>(a.outputs, a.channels, a.taps);
    const auto scope = arena.scope();
    T* const rows = static_cast<T*>(static_cast<void*>(arena.take_bytes("convolution workspace", layout.bytes)));
    if constexpr (!std::is_same_v<T, float>) {
      if (layout.outputs > 0 && cuda::reads_pieces(a.places, a.channels)) {
        for (std::int64_t begin = 0; begin < a.outputs; begin += layout.outputs) {
          matrix_convolution<T>(a, {rows, begin, std::min(a.outputs, begin + layout.outputs)});
        }
        return;
      }
    }
    cuda::launch("convolution", &cuda::convolution<T, Places>,
                 {ceil_div(a.positions, cuda::convolution_tile), ceil_div(a.outputs, cuda::convolution_tile)},
                 cuda::convolution_threads, sizeof(cuda::ConvolutionShared), stream_.native(), a);
  }

  template <Element T, class Places>
  void matrix_convolution(const cuda::ConvolutionKernelArguments<Places>& a, const cuda::WeightPanel<T>& panel) {
    const std::int64_t outputs = panel.end - panel.begin;
    const int tile = cuda::matrix_convolution_outputs(outputs);
    cuda::launch("arrange_weights", &cuda::arrange_weights<T, Places>,
                 {ceil_div(outputs * a.channels, cuda::row_threads)}, cuda::row_threads, 0, stream_.native(), a, panel);
    cuda::launch("matrix_convolution",
                 tile == 64 ? &cuda::matrix_convolution<T, Places, 64> : &cuda::matrix_convolution<T, Places, 128>,
                 {ceil_div(a.positions, cuda::matrix_convolution_tile) * ceil_div(outputs, tile)},
                 cuda::matrix_convolution_threads, cuda::matrix_convolution_shared_bytes(tile), stream_.native(), a,
                 cuda::WeightPanel<const T>{panel.rows, panel.begin, panel.end});
  }

  template <class View>
  static void check_copied_columns(const View& view) {
    expects(view.extent(1) <= 1 || view.stride(1) == 1, "copy on a CUDA device: columns have stride ", view.stride(1),
            ", expected 1");
    expects(view.extent(0) <= 1 || view.stride(0) >= view.extent(1), "copy on a CUDA device: rows of ", view.extent(1),
            " elements are ", view.stride(0), " apart");
  }

  template <class T>
  static void copy_rows(const CudaStream& stream, TensorView<const T, 2> from, TensorView<T, 2> to) {
    if (from.empty()) return;
    const auto bytes = [](std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(T); };
    if (from.is_dense() && to.is_dense()) {
      cuda::check("cudaMemcpyAsync",
                  cudaMemcpyAsync(to.data(), from.data(), bytes(from.size()), cudaMemcpyDefault, stream.native()));
      return;
    }
    cuda::check(
        "cudaMemcpy2DAsync",
        cudaMemcpy2DAsync(to.data(), bytes(to.stride(0)), from.data(), bytes(from.stride(0)), bytes(from.extent(1)),
                          static_cast<std::size_t>(from.extent(0)), cudaMemcpyDefault, stream.native()));
  }

  CudaDevice device_;
  CudaStream stream_;
  CudaStream copy_in_;
  CudaStream copy_out_;
  CudaEvent given_;  ///< the work given so far, when a copy is queued
  cuda::Products products_;
  std::function<void(const char*, std::int64_t)> step_listener_;
};

static_assert(Backend<CudaBackend, float> && Backend<CudaBackend, bfloat16> && Backend<CudaBackend, half>);
static_assert(HasByteTransfer<CudaBackend>);

}  // namespace ltxmem
