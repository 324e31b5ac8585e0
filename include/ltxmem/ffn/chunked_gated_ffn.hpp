// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ltxmem/ffn/chunked_ffn.hpp"

namespace ltxmem {

namespace detail {

struct RowNumbers {
  TensorView<std::int32_t, 1> numbers;
  LTXMEM_HOST_DEVICE void operator()(std::int64_t n) const { numbers(n) = static_cast<std::int32_t>(n); }
};

}  // namespace detail

/// Gated feed-forward network (GLU family) evaluated chunk by chunk, so neither hidden activation exists as a whole.
///
/// Computes  y = epilogue((act(x Wg^T + bg) * (x Wu^T + bu)) Wd^T + bd), * element by element
/// Shapes    x [N, D], Wg and Wu [F, D], Wd [E, F], y [N, E]; N and F need not be multiples of the chunks
/// Memory    token chunk * hidden chunk * (sizeof(T) + 4) and token chunk * 4 bytes, and with hidden chunks token
///           chunk * E * 4, each rounded up to buffer_alignment, besides the largest workspace of the three layers. y
///           may be x or the epilogue's residual
/// Cost      2 N F (2 D + E) flops; the weights are read once per token chunk
/// Numerics  the gate is kept in float and enters as the row gate of the second product, so the product of the two is
///           rounded once; otherwise as ChunkedFFN
/// Stream    ordered on backend.stream(), does not synchronise
/// Throws    ShapeError, OutOfMemory
/// Source    Shazeer, "GLU Variants Improve Transformer", 2020, equation 6
template <Element T, FfnBackend<T> Backend, LinearLayer<T, Backend> Up = DenseLinear, LinearLayer<T, Backend> Down = Up>
requires HasForEach<Backend>
class ChunkedGatedFFN : public detail::ChunkedLayers<Up, Down> {
  using Layers = detail::ChunkedLayers<Up, Down>;
  using Layers::activation_, Layers::down_, Layers::up_;

 public:
  using Layers::effective, Layers::hidden, Layers::outputs;

  ChunkedGatedFFN(Up gate, Up up, Down down, Activation activation = Activation::gelu_tanh)
      : Layers("chunked gated ffn", std::move(up), std::move(down), activation), gate_(std::move(gate)) {
    expects(gate_.inputs() == up_.inputs(), "chunked gated ffn: inputs of the gate ", gate_.inputs(),
            ", of the values ", up_.inputs());
    expects(gate_.outputs() == up_.outputs(), "chunked gated ffn: outputs of the gate ", gate_.outputs(),
            ", of the values ", up_.outputs());
  }

  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens,
                              const ChunkedFfnOptions& options = {}) const {
    if (tokens == 0) return 0;
    const ChunkedFfnOptions chunks = effective(tokens, options);
    return gate_bytes(chunks) + detail::chunk_buffer_bytes<T>(chunks, hidden(), outputs()) +
           detail::largest_slice_bytes(hidden(), chunks.hidden_chunk, [&](std::int64_t begin, std::int64_t count) {
             return std::max(
                 {gate_.slice_outputs(begin, count).template workspace_bytes<T>(backend, chunks.token_chunk),
                  up_.slice_outputs(begin, count).template workspace_bytes<T>(backend, chunks.token_chunk),
                  down_.slice_inputs(begin, count).template workspace_bytes<T>(backend, chunks.token_chunk)});
           });
  }

  void operator()(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<T>& epilogue, TensorView<T, 2> y,
                  Arena& arena, const ChunkedFfnOptions& options = {}) const {
    Layers::check(x, y);
    if (x.extent(0) == 0) return;
    const Step step(backend, "gated ffn");
    const ChunkedFfnOptions chunks = effective(x.extent(0), options);
    const auto scope = arena.scope();
    float* const gates = arena.take<float>("ffn gate", Extents<2>{chunks.token_chunk, chunks.hidden_chunk}).data();
    const auto row_numbers = arena.take<std::int32_t>("ffn row numbers", Extents<1>{chunks.token_chunk});
    backend.for_each(OperationCost{"ffn row numbers", 0, chunks.token_chunk * 4}, chunks.token_chunk,
                     detail::RowNumbers{row_numbers});
    detail::for_each_chunk<T>(
        backend, chunks, down_, epilogue, y, arena,
        [&](std::int64_t token, std::int64_t count, std::int64_t channel, std::int64_t width, TensorView<T, 2> out) {
          const auto rows = x.rows(token, count);
          const TensorView<float, 2> gate(gates, {count, width});
          LinearEpilogue<float> activate;
          activate.activation = activation_;
          LinearEpilogue<T> multiply;
          multiply.gate = {gate, row_numbers.slice(0, 0, count)};
          gate_.slice_outputs(channel, width).apply(backend, rows, activate, gate, arena);
          up_.slice_outputs(channel, width).apply(backend, rows, multiply, out, arena);
        });
  }

 private:
  static std::size_t gate_bytes(const ChunkedFfnOptions& chunks) {
    return aligned_bytes(byte_count<float>(Extents<2>{chunks.token_chunk, chunks.hidden_chunk})) +
           aligned_bytes(byte_count<std::int32_t>(Extents<1>{chunks.token_chunk}));
  }

  Up gate_;
};

}  // namespace ltxmem
