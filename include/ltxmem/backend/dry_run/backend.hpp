// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <stop_token>
#include <utility>

#include "ltxmem/backend/checks.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/dry_run/record.hpp"

namespace ltxmem {

/// Runs a program without doing it: takes the same scratch from the arenas as the target would, records what each
/// operation costs, and touches no element; it refuses the arguments that the target would. Together with virtual
/// arenas it allocates nothing that grows with the data.
///
/// Target is what a real backend says of its needs (its target()): scratch bytes per operation, by formula. The peak of
/// the arenas after a dry run is the peak of the real run, to the byte.
///
/// Costs count multiply and add as two flops; bytes are those of operands and results, each once.
///
/// Throws    Cancelled where a step begins after the stop was requested: plans of many steps take a while
template <class Target>
class DryRunBackend {
 public:
  using Event = Record::Event;

  explicit DryRunBackend(Target target = {}, std::stop_token stop = {})
      : target_(std::move(target)), stop_(std::move(stop)) {}

  const Record& record() const noexcept { return record_; }
  /// For virtual arenas to report to, and for entries of the caller's own: messages, reads of files.
  Record& record() noexcept { return record_; }
  StreamRef stream() const noexcept { return {}; }

  template <Element T, class Out>
  void linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
              Arena& arena) {
    detail::check_linear(terms, epilogue, y);
    const auto scope = arena.scope();
    std::size_t workspace = 0;
    std::int64_t flops = 0;
    std::int64_t bytes = bytes_of(y) + bytes_of(epilogue.residual) + bytes_of(epilogue.addend);
    for (const LinearTerm<T>& term : terms) {
      workspace = std::max(workspace, linear_workspace_bytes<T>(y.extent(0), term.weight));
      flops += 2 * y.extent(0) * term.weight.rows * term.weight.columns;
      bytes += bytes_of(term.x) + bytes_of(term.weight);
    }
    arena.take_bytes("linear workspace", workspace);
    record_.add_compute("linear", matrix_arithmetic<T>(), flops, bytes);
  }
  template <Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const WeightMatrix& weight) const {
    return target_.template linear_workspace_bytes<T>(tokens, weight);
  }

  template <Element T>
  void norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
    detail::check_norm(x, arguments, y);
    record_.add_compute("norm", Arithmetic::vector, 8 * x.size(),
                        bytes_of(x) + bytes_of(y) + bytes_of(arguments.residual));
  }
  template <Element T>
  void head_norm(TensorView<T, 2> x, const HeadNormArguments& arguments) {
    detail::check_head_norm(x, arguments);
    record_.add_compute("head norm", Arithmetic::vector, 8 * x.size(), 2 * bytes_of(x));
  }

  template <Element T>
  void head_norm_factors(TensorView<const T, 2> x, float, TensorView<float, 1> factors) {
    detail::check_head_norm_factors(x, factors);
    record_.add_compute("head norm factors", Arithmetic::vector, 2 * x.size(), bytes_of(x) + bytes_of(factors));
  }

  void attention_reset(SoftmaxStateView state) {
    detail::check_softmax_state(state);
    record_.add_compute("attention reset", Arithmetic::vector, 0, bytes_of(state));
  }
  template <Element T>
  void attention_append(const AttentionTile<T>& tile, SoftmaxStateView state, Arena& arena) {
    detail::check_attention(tile, state);
    const auto scope = arena.scope();
    arena.take_bytes("attention workspace", attention_workspace_bytes(tile));
    record_.add_compute(
        "attention", attention_arithmetic<T>(), 4 * visible_pairs(tile) * tile.q.extent(1),
        bytes_of(tile.q) + bytes_of(tile.k) + bytes_of(tile.v) + bytes_of(tile.mask) + 2 * bytes_of(state));
  }
  void attention_merge(SoftmaxStateView from, SoftmaxStateView into) {
    detail::check_attention_merge(from, into);
    record_.add_compute("attention merge", Arithmetic::vector, 4 * from.accumulator.size(),
                        bytes_of(from) + 2 * bytes_of(into));
  }
  template <Element T>
  void attention_finalize(SoftmaxStateView state, TensorView<const float, 2> gate, TensorView<T, 2> out,
                          TensorView<float, 2> natural_lse) {
    detail::check_attention_finalize<T>(state, gate, out, natural_lse);
    record_.add_compute("attention finalize", Arithmetic::vector, 2 * out.size(),
                        bytes_of(state) + bytes_of(gate) + bytes_of(out) + bytes_of(natural_lse));
  }
  template <Element T>
  std::size_t attention_workspace_bytes(const AttentionTile<T>& tile) const {
    return target_.attention_workspace_bytes(tile);
  }

  template <Element T>
  void convolve(TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y, Arena& arena) {
    detail::check_convolution(x, arguments, y);
    const auto scope = arena.scope();
    arena.take_bytes("convolution workspace", convolution_workspace_bytes<T>(arguments.weight, arguments.geometry));
    record_.add_compute("convolution", matrix_arithmetic<T>(), 2 * y.size() * arguments.weight.columns,
                        bytes_of(x) + bytes_of(y) + bytes_of(arguments.residual) + bytes_of(arguments.weight));
  }
  template <Element T>
  void convolve_transposed(TensorView<const T, 2> x, const TransposedConvolutionArguments& arguments,
                           TensorView<T, 2> y, Arena& arena) {
    detail::check_transposed(x, arguments, y);
    const auto scope = arena.scope();
    arena.take_bytes("convolution workspace", transposed_workspace_bytes<T>(arguments));
    record_.add_compute("transposed convolution", matrix_arithmetic<T>(),
                        2 * x.extent(0) * arguments.weight.rows * arguments.weight.columns,
                        bytes_of(x) + bytes_of(y) + bytes_of(arguments.weight));
  }
  template <Element T>
  std::size_t convolution_workspace_bytes(const WeightMatrix& weight, const ConvolutionGeometry& geometry) const {
    return target_.template convolution_workspace_bytes<T>(weight, geometry);
  }
  template <Element T>
  std::size_t transposed_workspace_bytes(const TransposedConvolutionArguments& arguments) const {
    return target_.template transposed_workspace_bytes<T>(arguments);
  }

  template <class Fn>
  void for_each(const OperationCost& cost, std::int64_t, Fn&&) {
    record_.add_compute(cost.name, Arithmetic::vector, cost.flops, cost.bytes);
  }

  template <class From, class To>
  void copy(TensorView<const From, 2> from, TensorView<To, 2> to) {
    detail::check_copy(from.extents(), to.extents());
    record_.add_compute("copy", Arithmetic::vector, 0, bytes_of(from) + bytes_of(to));
  }
  template <class T>
  Event copy_async(CopyQueue queue, TensorView<const T, 2> from, TensorView<T, 2> to) {
    detail::check_copy(from.extents(), to.extents());
    return record_.add_transfer(queue == CopyQueue::in ? WorkQueue::copy_in : WorkQueue::copy_out, "transfer",
                                bytes_of(from));
  }
  Event peer_transfer(CopyQueue queue, std::size_t bytes) {
    return record_.add_transfer(queue == CopyQueue::in ? WorkQueue::peer_in : WorkQueue::peer_out, "peer transfer",
                                static_cast<std::int64_t>(bytes));
  }
  void wait(Event event) { record_.wait(event); }
  void synchronize(Event) noexcept {}
  /// A read from the disk into pinned memory that another transfer has left, none for bytes in the page cache, then the
  /// transfer to the device: how streamed weights travel.
  Event stream_in(std::int64_t disk_bytes, std::int64_t bytes, Event left) {
    Event read = left;
    if (disk_bytes > 0) {
      read = record_.add_transfer(WorkQueue::disk, "read weights", disk_bytes, {.after_compute = false, .after = left});
    }
    return record_.add_transfer(WorkQueue::copy_in, "transfer weights", bytes, {.after = read});
  }

  /// One message to a rank while one comes from another, over a link whose two directions do not disturb each other.
  Event message(const char* operation, std::int64_t sent_bytes, std::int64_t received_bytes) {
    return record_.add_transfer(WorkQueue::network, operation, std::max(sent_bytes, received_bytes));
  }

  void enter_step(const char* name, std::int64_t index) {
    if (stop_.stop_requested()) throw Cancelled();
    record_.enter_step(name, index);
  }
  void leave_step() noexcept { record_.leave_step(); }
  bool collapses_loops() const noexcept { return true; }
  void begin_repeated(std::int64_t times) { record_.begin_repeated(times); }
  void end_repeated() noexcept { record_.end_repeated(); }

 private:
  template <class T, std::size_t Rank>
  static std::int64_t bytes_of(TensorView<T, Rank> view) {
    return view.size() * static_cast<std::int64_t>(sizeof(T));
  }
  static std::int64_t bytes_of(const WeightMatrix& weight) {
    return weight.rows * weight.columns * static_cast<std::int64_t>(dtype_bytes(weight.dtype));
  }
  static std::int64_t bytes_of(const SoftmaxStateView& state) {
    return bytes_of(state.accumulator) + bytes_of(state.maximum) + bytes_of(state.sum);
  }

  /// Pairs of a query and a key it may see.
  template <Element T>
  static std::int64_t visible_pairs(const AttentionTile<T>& tile) {
    const std::int64_t queries = tile.q.extent(0);
    const std::int64_t keys = tile.k.extent(0);
    if (!tile.causal) return queries * keys;
    std::int64_t pairs = 0;
    for (std::int64_t query = tile.query_begin; query < tile.query_begin + queries; ++query) {
      const std::int64_t first = tile.window > 0 ? std::max(tile.key_begin, query - tile.window + 1) : tile.key_begin;
      const std::int64_t last = std::min(tile.key_begin + keys, query + 1);
      pairs += std::max<std::int64_t>(0, last - first);
    }
    return pairs;
  }

  Target target_;
  std::stop_token stop_;
  Record record_;
};

}  // namespace ltxmem
