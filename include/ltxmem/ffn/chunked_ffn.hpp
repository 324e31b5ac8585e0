// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/weights/linear.hpp"

namespace ltxmem {

/// How much of a feed-forward network is evaluated at a time. Zero means everything at once.
struct ChunkedFfnOptions {
  std::int64_t token_chunk = 0;   ///< rounded up to row_quantum; changes no bit of the result
  std::int64_t hidden_chunk = 0;  ///< channels of the hidden activation; changes the order of the last summation
};

namespace detail {

/// The options in effect for this many tokens and hidden channels: what a caller reports.
inline ChunkedFfnOptions effective_chunks(std::int64_t tokens, std::int64_t hidden, const ChunkedFfnOptions& options) {
  expects(options.token_chunk >= 0, "chunked ffn: token chunk ", options.token_chunk, ", expected at least 0");
  expects(options.hidden_chunk >= 0, "chunked ffn: hidden chunk ", options.hidden_chunk, ", expected at least 0");
  const auto chunk = [](std::int64_t asked, std::int64_t unit, std::int64_t total) {
    return asked == 0 || asked >= total ? total : std::min(total, round_up(asked, unit));
  };
  return {chunk(options.token_chunk, row_quantum, tokens), chunk(options.hidden_chunk, 1, hidden)};
}

/// Buffers for one chunk: the hidden activation, and the float partial sum when the hidden channels are split.
template <Element T>
std::size_t chunk_buffer_bytes(const ChunkedFfnOptions& chunks, std::int64_t hidden, std::int64_t outputs) {
  const std::size_t activation = aligned_bytes(byte_count<T>(Extents<2>{chunks.token_chunk, chunks.hidden_chunk}));
  if (chunks.hidden_chunk == hidden) return activation;
  return activation + aligned_bytes(byte_count<float>(Extents<2>{chunks.token_chunk, outputs}));
}

/// Largest of bytes(begin, count) over the slices of the hidden channels: all but the last are alike.
template <class Bytes>
std::size_t largest_slice_bytes(std::int64_t hidden, std::int64_t chunk, Bytes&& bytes) {
  if (hidden == 0) return bytes(std::int64_t{0}, std::int64_t{0});
  const std::int64_t last = (ceil_div(hidden, chunk) - 1) * chunk;
  return std::max<std::size_t>(bytes(std::int64_t{0}, chunk), bytes(last, hidden - last));
}

/// The loops of a chunked network: make_hidden(tokens, count, channel, width, hidden) fills hidden [count, width] for
/// these tokens and channels; down turns it into the rows of y, over several slices by way of a float partial sum.
template <Element T, class Backend, class Down, class MakeHidden>
void for_each_chunk(Backend& backend, const ChunkedFfnOptions& chunks, const Down& down,
                    const LinearEpilogue<T>& epilogue, TensorView<T, 2> y, Arena& arena, MakeHidden&& make_hidden) {
  const std::int64_t channels = down.inputs();
  if (y.extent(0) == 0) return;
  const auto scope = arena.scope();
  T* const activation = arena.take<T>("ffn hidden", Extents<2>{chunks.token_chunk, chunks.hidden_chunk}).data();
  const bool whole = chunks.hidden_chunk == channels;
  float* const partial =
      whole ? nullptr : arena.take<float>("ffn partial sum", Extents<2>{chunks.token_chunk, down.outputs()}).data();

  for_each_tile(backend, y.extent(0), chunks.token_chunk, [&](std::int64_t token, std::int64_t count) {
    const LinearEpilogue<T> finish = epilogue.tokens(token, count);
    if (whole) {
      const TensorView<T, 2> hidden(activation, {count, channels});
      make_hidden(token, count, std::int64_t{0}, channels, hidden);
      down.apply(backend, TensorView<const T, 2>(hidden), finish, y.rows(token, count), arena);
      return;
    }
    const TensorView<float, 2> sum(partial, {count, down.outputs()});
    for_each_tile(backend, channels, chunks.hidden_chunk, [&](std::int64_t channel, std::int64_t width) {
      const TensorView<T, 2> hidden(activation, {count, width});
      make_hidden(token, count, channel, width, hidden);
      const Down slice = down.slice_inputs(channel, width);
      const TensorView<const float, 2> addend = channel == 0 ? finish.addend : TensorView<const float, 2>(sum);
      if (channel + width < channels) {
        LinearEpilogue<float> accumulate;
        accumulate.addend = addend;
        slice.apply(backend, TensorView<const T, 2>(hidden), accumulate, sum, arena);
      } else {
        LinearEpilogue<T> last = finish;
        last.addend = addend;
        slice.apply(backend, TensorView<const T, 2>(hidden), last, y.rows(token, count), arena);
      }
    });
  });
}

/// The layers before and after the hidden activation, and what every chunked network says of itself by them.
template <class Up, class Down>
class ChunkedLayers {
 public:
  std::int64_t inputs() const noexcept { return up_.inputs(); }
  std::int64_t hidden() const noexcept { return down_.inputs(); }
  std::int64_t outputs() const noexcept { return down_.outputs(); }

  /// The options after rounding, as a report should state them.
  ChunkedFfnOptions effective(std::int64_t tokens, const ChunkedFfnOptions& options) const {
    return effective_chunks(tokens, hidden(), options);
  }

 protected:
  ChunkedLayers(const char* name, Up up, Down down, Activation activation)
      : name_(name), up_(std::move(up)), down_(std::move(down)), activation_(activation) {
    expects(up_.outputs() == down_.inputs(), name, ": outputs of the first layer ", up_.outputs(),
            ", inputs of the second ", down_.inputs());
  }

  template <class T>
  void check(TensorView<const T, 2> x, TensorView<T, 2> y) const {
    expects(x.extent(0) == y.extent(0), name_, ": rows of x ", x.extent(0), ", rows of y ", y.extent(0));
    expects(x.extent(1) == inputs(), name_, ": columns of x ", x.extent(1), ", inputs ", inputs());
    expects(y.extent(1) == outputs(), name_, ": columns of y ", y.extent(1), ", outputs ", outputs());
  }

  const char* name_;
  Up up_;
  Down down_;
  Activation activation_;
};

}  // namespace detail

/// Feed-forward network evaluated chunk by chunk, so the hidden activation never exists as a whole.
///
/// Computes  y = epilogue(act(x W1^T + b1) W2^T + b2)
/// Shapes    x [N, D], W1 [F, D], W2 [E, F], y [N, E]; N and F need not be multiples of the chunks
/// Memory    token chunk * hidden chunk * sizeof(T), and with hidden chunks token chunk * E * 4, each rounded up to
///           buffer_alignment, besides the larger workspace of the two layers. y may be x or the epilogue's residual
/// Cost      2 N F (D + E) flops; the weights are read once per token chunk, and where they are not of type T expanded
///           once per chunk: on the CPU 8 % at 256 tokens, 1 % at 512, nothing measurable from 1,024 for float on
///           bfloat16 weights; 13 %, 4 % and 1 % for bfloat16 on float8 (4096 x 4096, oneDNN, AVX-512 BF16)
/// Numerics  the hidden activation is rounded to T, sums are float. Token chunks change no bit; hidden chunks add float
///           partial sums, so they agree to float rounding
/// Stream    ordered on backend.stream(), does not synchronise
/// Throws    ShapeError, OutOfMemory
template <Element T, FfnBackend<T> Backend, LinearLayer<T, Backend> Up = DenseLinear, LinearLayer<T, Backend> Down = Up>
class ChunkedFFN : public detail::ChunkedLayers<Up, Down> {
  using Layers = detail::ChunkedLayers<Up, Down>;
  using Layers::activation_, Layers::down_, Layers::up_;

 public:
  using Layers::effective, Layers::hidden, Layers::outputs;

  ChunkedFFN(Up up, Down down, Activation activation = Activation::gelu_tanh)
      : Layers("chunked ffn", std::move(up), std::move(down), activation) {}

  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens,
                              const ChunkedFfnOptions& options = {}) const {
    if (tokens == 0) return 0;
    const ChunkedFfnOptions chunks = effective(tokens, options);
    return detail::chunk_buffer_bytes<T>(chunks, hidden(), outputs()) +
           detail::largest_slice_bytes(hidden(), chunks.hidden_chunk, [&](std::int64_t begin, std::int64_t count) {
             return std::max(up_.slice_outputs(begin, count).template workspace_bytes<T>(backend, chunks.token_chunk),
                             down_.slice_inputs(begin, count).template workspace_bytes<T>(backend, chunks.token_chunk));
           });
  }

  void operator()(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<T>& epilogue, TensorView<T, 2> y,
                  Arena& arena, const ChunkedFfnOptions& options = {}) const {
    Layers::check(x, y);
    const Step step(backend, "ffn");
    LinearEpilogue<T> activate;
    activate.activation = activation_;
    detail::for_each_chunk<T>(
        backend, effective(x.extent(0), options), down_, epilogue, y, arena,
        [&](std::int64_t token, std::int64_t count, std::int64_t channel, std::int64_t width, TensorView<T, 2> out) {
          const auto rows = x.rows(token, count);
          if (width == hidden()) {
            up_.apply(backend, rows, activate, out, arena);
          } else {
            up_.slice_outputs(channel, width).apply(backend, rows, activate, out, arena);
          }
        });
  }
};

namespace detail {

/// The least that models FfnBackend: shows that the network asks for nothing more. Declared only.
struct FfnArchetype : LinearArchetype {
  void enter_step(const char* name, std::int64_t index);
  void leave_step() noexcept;
  bool collapses_loops() const;
  void begin_repeated(std::int64_t times);
  void end_repeated() noexcept;
  StreamRef stream() const;
};

}  // namespace detail

static_assert(FfnBackend<detail::FfnArchetype, bfloat16>);
static_assert(requires(const ChunkedFFN<bfloat16, detail::FfnArchetype>& ffn, detail::FfnArchetype& backend,
                       TensorView<bfloat16, 2> x,
                       Arena& arena) { ffn(backend, x, {}, x, arena, {.token_chunk = 1024}); });

}  // namespace ltxmem
