// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/stream.hpp"
#include "ltxmem/memory/arena.hpp"

/// What a backend can do: one concept per operation, then the composed ones that primitives ask for.
///
/// A backend b is an object used by one thread at a time. Its operations run in order on b.stream(); a call may return
/// before the work is done on a device. Scratch memory of an operation is taken from the arena it is given and free
/// again when the call returns; the *_workspace_bytes members say how much, by formula and without touching data.

namespace ltxmem {

/// b.linear(terms, epilogue, y, arena): y [N, out] = epilogue(sum over terms of strength * scale * x W^T), accumulated
/// in fp32; see LinearTerm and LinearEpilogue. Every term has the same N and out. Out is T or float.
template <class B, class T>
concept HasLinear = Element<T> &&
    requires(B& b, const B& cb, std::span<const LinearTerm<T>> terms, const LinearEpilogue<T>& epilogue,
             const LinearEpilogue<float>& wide, TensorView<T, 2> y, TensorView<float, 2> wide_y, Arena& arena,
             const WeightMatrix& weight, std::int64_t tokens) {
  b.linear(terms, epilogue, y, arena);
  b.linear(terms, wide, wide_y, arena);
  { cb.template linear_workspace_bytes<T>(tokens, weight) } -> std::same_as<std::size_t>;
};

/// b.norm(x, arguments, y): row norm with weight, modulation, activation and residual; see NormArguments.
template <class B, class T>
concept HasNorm = Element<T> &&
    requires(B& b, TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
  b.norm(x, arguments, y);
};

/// b.head_norm(x, arguments): query/key norm and rotary embedding in place; see HeadNormArguments.
/// b.head_norm_factors(x, eps, factors): factors [N] = 1 / sqrt(mean of squares of the row + eps), the very bits that
///   head_norm multiplies by.
template <class B, class T>
concept HasHeadNorm = Element<T> && requires(B& b, TensorView<T, 2> x, const HeadNormArguments& arguments,
                                             TensorView<const T, 2> rows, float eps, TensorView<float, 1> factors) {
  b.head_norm(x, arguments);
  b.head_norm_factors(rows, eps, factors);
};

/// b.attention_reset(state): the identity: nothing seen yet.
/// b.attention_append(tile, state, arena): the state after also seeing the keys of the tile.
/// b.attention_merge(from, into): the state that has seen both key sets.
/// b.attention_finalize(state, gate, out, lse): out = accumulator / sum * gate[n, h] (zero where no key was seen);
///   gate [N, H] and lse [N, H] (natural log-sum-exp, -infinity where no key was seen) may be empty.
template <class B, class T>
concept HasAttention = Element<T> &&
    requires(B& b, const B& cb, const AttentionTile<T>& tile, SoftmaxStateView state, TensorView<const float, 2> gate,
             TensorView<T, 2> out, TensorView<float, 2> natural_lse, Arena& arena) {
  b.attention_reset(state);
  b.attention_append(tile, state, arena);
  b.attention_merge(state, state);
  b.attention_finalize(state, gate, out, natural_lse);
  { cb.attention_workspace_bytes(tile) } -> std::same_as<std::size_t>;
};

/// b.convolve(x, arguments, y, arena): see ConvolutionArguments. b.convolve_transposed(x, arguments, y, arena): see
/// TransposedConvolutionArguments.
template <class B, class T>
concept HasConvolution = Element<T> &&
    requires(B& b, const B& cb, TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y,
             TensorView<const T, 2> line, const TransposedConvolutionArguments& transposed, TensorView<T, 2> line_y,
             Arena& arena) {
  b.convolve(x, arguments, y, arena);
  b.convolve_transposed(line, transposed, line_y, arena);
  { cb.template convolution_workspace_bytes<T>(arguments.weight, arguments.geometry) } -> std::same_as<std::size_t>;
  { cb.template transposed_workspace_bytes<T>(transposed) } -> std::same_as<std::size_t>;
};

/// b.for_each(cost, count, fn): fn(i) for every i in [0, count), in any order and in parallel; fn is a copyable
/// function object whose calls write disjoint memory. The way to run element-wise work that has no operation of its
/// own.
template <class B>
concept HasForEach = requires(B& b, const OperationCost& cost, std::int64_t count, void (*fn)(std::int64_t)) {
  b.for_each(cost, count, fn);
};

/// b.copy(from, to): to = from, converting the element type; both [N, D].
/// b.copy_async(queue, from, to) -> Event: the same without conversion, on a copy queue; starts after all work already
///   given to the backend and after earlier copies of that queue. b.wait(event): later work starts after that copy.
template <class B, class T>
concept HasCopy = Element<T> && requires(B& b, TensorView<const T, 2> from, TensorView<T, 2> to,
                                         TensorView<float, 2> wide, typename B::Event event) {
  b.copy(from, to);
  b.copy(from, wide);
  { b.copy_async(CopyQueue::in, from, to) } -> std::same_as<typename B::Event>;
  b.wait(event);
};

/// b.enter_step(name, index) / b.leave_step(): names what runs in between, for plans, traces and progress; see Step.
/// b.collapses_loops(): true when for_each_tile and repeat may skip the turns that look alike.
template <class B>
concept HasSteps = requires(B& b, const B& cb, const char* name, std::int64_t index, std::int64_t times) {
  b.enter_step(name, index);
  { b.leave_step() }
  noexcept;
  { cb.collapses_loops() } -> std::same_as<bool>;
  b.begin_repeated(times);
  { b.end_repeated() }
  noexcept;
  { cb.stream() } -> std::same_as<StreamRef>;
};

/// b.copy_async on bytes; b.synchronize(event): the calling thread, which may be any, waits until that copy is done. An
///   event made by default has happened.
template <class B>
concept HasByteTransfer = HasSteps<B> && std::default_initializable<typename B::Event> &&
    requires(B& b, TensorView<const std::byte, 2> from, TensorView<std::byte, 2> to, typename B::Event event) {
  { b.copy_async(CopyQueue::in, from, to) } -> std::same_as<typename B::Event>;
  b.wait(event);
  b.synchronize(event);
};

/// b.peer_transfer(queue, bytes) -> Event: a copy between this device and memory of others, noted and not made: a dry
///   run, in which the link to them is another one than that to the host.
template <class B>
concept HasPeerTransfer = requires(B& b, std::size_t bytes) {
  { b.peer_transfer(CopyQueue::in, bytes) } -> std::same_as<typename B::Event>;
};

template <class B, class T>
concept FfnBackend = HasLinear<B, T> && HasSteps<B>;

template <class B, class T>
concept AttentionBackend = HasAttention<B, T> && HasCopy<B, T> && HasSteps<B>;

/// Everything: what a whole model asks for.
template <class B, class T>
concept Backend = HasLinear<B, T> && HasNorm<B, T> && HasHeadNorm<B, T> && HasAttention<B, T> && HasConvolution<B, T> &&
    HasForEach<B> && HasCopy<B, T> && HasSteps<B>;

}  // namespace ltxmem
