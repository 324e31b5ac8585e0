// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/ops/group_norm.hpp"
#include "model/convolution.hpp"
#include "video_vae/frame_stream.hpp"
#include "video_vae/layers.hpp"

namespace ltx2 {

/// Moves frames between pinned memory and the device; later work waits for it.
template <class Backend, class T>
void move(Backend& backend, ltxmem::CopyQueue queue, ltxmem::TensorView<T, 4> from, ltxmem::TensorView<T, 4> to) {
  backend.wait(backend.copy_async(queue, as_rows(ltxmem::TensorView<const T, 4>(from)), as_rows(to)));
}

/// A convolution of a clip that passes a number of frames at a time: load(begin, frames) writes what is new of its
/// input into device memory, store(begin, frames) takes what came out.
template <class T, class Backend, class Load, class Store>
void stream_convolution(Backend& backend, const VideoConvolution<T, Backend>& convolution,
                        const ltxmem::Extents<4>& result, std::int64_t turn, const Load& load, const Store& store,
                        ltxmem::Arena& arena) {
  const auto scope = arena.scope();
  const TurnShape turns{turn, result[0]};
  auto stream = convolution.open(arena, Tile::whole(result[1], result[2]), turns);
  FrameStream<T>& input = stream.input;
  const auto window = arena.take<T>("frames before the convolution", input.window_extents());
  const auto y = arena.take<T>("frames behind the convolution", stream.output.extents(turns.most(), result[3]));
  stream_clip(backend, result[0], turn, turn, [&](std::int64_t begin, std::int64_t count, bool last) {
    const Turn in{count, last};
    if (count > 0) load(begin, input.fresh(window).rows(0, count));
    const auto x = input.gather(backend, window, in);
    const std::int64_t first = input.emitted();
    const Turn out = convolution(backend, stream, x, in, {}, y, arena);
    if (out.frames > 0) store(first, y.rows(0, out.frames));
    input.advance(backend, x, in, out);
    return out;
  });
}

/// Activations of a whole clip, [F, h, w, C] in pinned memory: a norm over the clip needs them twice.
template <class T>
using ClipView = ltxmem::TensorView<T, 4>;

/// A 3x3x3 convolution with zero padding and the group norm behind it, of a clip that passes a few frames at a time.
///
/// Memory    device: a turn's frames and two more before the convolution, a turn's behind it, and two moments per 256
///           positions of a frame and group for the whole clip
template <ltxmem::Element T, class Backend>
class NormedConvolution {
 public:
  NormedConvolution(const WeightScope& weights, const std::string& convolution, const std::string& norm,
                    std::int64_t outputs, std::int64_t inputs)
      : convolution_(weights.convolution(convolution, outputs, inputs, {3, 3, 3}), padding()),
        arguments_{.groups = 32,
                   .weight = weights.vector(norm + ".weight", outputs),
                   .bias = weights.vector(norm + ".bias", outputs),
                   .silu = true} {}

  static VideoPadding padding() { return {.causal = false, .time = ltxmem::Padding::zeros}; }
  std::int64_t channels() const noexcept { return convolution_.outputs(); }

  /// y = convolution(x), not normalised, and the table of the norm. load(begin, frames) writes frames of x into device
  /// memory; y may be where it reads them.
  template <class Load>
  void convolve(Backend& backend, std::int64_t turn, const Load& load, ClipView<T> y,
                ltxmem::TensorView<float, 2> table, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const std::int64_t positions = y.extent(1) * y.extent(2);
    const std::int64_t chunks = ltxmem::group_norm_chunks(positions);
    const auto moments =
        arena.take<float>("group norm moments", ltxmem::Extents<3>{y.extent(0) * chunks, arguments_.groups, 2});
    stream_convolution(
        backend, convolution_, y.extents(), turn, load,
        [&](std::int64_t begin, ltxmem::TensorView<T, 4> frames) {
          for (std::int64_t i = 0; i < frames.extent(0); ++i) {
            ltxmem::group_norm_moments<T>(backend, as_rows(frames.rows(i, 1)),
                                          moments.rows((begin + i) * chunks, chunks));
          }
          move(backend, ltxmem::CopyQueue::out, frames, y.rows(begin, frames.extent(0)));
        },
        arena);
    ltxmem::group_norm_table<T>(backend, moments, positions, arguments_, table, arena);
  }

  /// x = SiLU(norm(x) + residual) of frames on the device.
  void normalise(Backend& backend, ltxmem::TensorView<const float, 2> table, ltxmem::TensorView<const T, 4> residual,
                 ltxmem::TensorView<T, 4> x) const {
    ltxmem::GroupNormArguments<T> arguments = arguments_;
    if (!residual.empty()) arguments.residual = as_rows(residual);
    ltxmem::group_norm_apply<T>(backend, as_rows(x), table, arguments, as_rows(x));
  }

 private:
  VideoConvolution<T, Backend> convolution_;
  ltxmem::GroupNormArguments<T> arguments_;
};

}  // namespace ltx2
