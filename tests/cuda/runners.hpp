// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"

/// CudaBackend and the primitives on it, run on operands in host memory: they are copied to a device, worked on there
/// and copied back. Compiled by nvcc; the tests that call them, by the host's compiler. Defined for float, bfloat16 and
/// half.
///
/// Every runner gives the operation exactly the workspace that its formula states, and throws std::logic_error when a
/// peak is another.

namespace ltxmem::test::on_device {

/// Rows go through in chunks of so many; 0: all at once.
template <Element T, class Out>
void linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
            std::int64_t chunk = 0);

template <Element T>
void norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y);

/// With by_factors the rows' factors are computed first and given to head_norm.
template <Element T>
void head_norm(TensorView<T, 2> x, const HeadNormArguments& arguments, bool by_factors);

/// x lies `shift` elements behind a multiple of 16 bytes.
template <Element T>
void convolve(TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y,
              std::int64_t shift = 0);
template <Element T>
void convolve_transposed(TensorView<const T, 2> x, const TransposedConvolutionArguments& arguments, TensorView<T, 2> y);

/// group_norm over rows, by for_each.
template <Element T>
void group_norm(TensorView<const T, 2> x, std::int64_t groups, const WeightVector& weight, TensorView<T, 2> y);

enum class Keys { resident, host, recomputed };

template <Element T>
void tiled_attention(const AttentionTile<T>& tile, const TiledAttentionOptions& options, Keys placement,
                     TensorView<const float, 2> gate, TensorView<T, 2> out, TensorView<float, 2> natural_lse);

/// The state after halves of the keys, each seen by a state of its own, were merged.
template <Element T>
void merged_attention(const AttentionTile<T>& tile, TensorView<T, 2> out);

template <Element T>
void ffn(TensorView<const T, 2> x, const WeightMatrix& up, const WeightVector& up_bias, const WeightMatrix& down,
         const WeightVector& down_bias, const ChunkedFfnOptions& options, const LinearEpilogue<T>& epilogue,
         TensorView<T, 2> y);

/// The gated one, without biases.
template <Element T>
void gated_ffn(TensorView<const T, 2> x, const WeightMatrix& gate, const WeightMatrix& up, const WeightMatrix& down,
               const ChunkedFfnOptions& options, TensorView<T, 2> y);

/// rows copied in and out again in slots of so many rows by both queues, doubled on the device in between.
void double_through_slots(TensorView<const float, 2> from, std::int64_t slot_rows, TensorView<float, 2> to);

/// to = from by way of the device, converted there.
template <class From, class To>
void convert(TensorView<const From, 2> from, TensorView<To, 2> to);

/// Names steps: "conditioning", and "self attention" in "block", 3.
void name_steps();

/// Asks for twice the device's memory beside a buffer in use; returns the text of the error. Afterwards the device
/// works.
std::string exhaust_memory();

}  // namespace ltxmem::test::on_device
