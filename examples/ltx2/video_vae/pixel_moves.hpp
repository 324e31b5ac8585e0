// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/tensor_view.hpp"

/// Element work of the video autoencoder that moves values between channels and positions: one call per output
/// position, for Backend::for_each.
/// Source    docs/ltx2/vae.md 1

namespace ltx2 {

/// A position (t, y, x) of a channels-last tensor, from its row-major index.
struct PixelPosition {
  std::int64_t t;
  std::int64_t y;
  std::int64_t x;

  template <class T>
  LTXMEM_HOST_DEVICE PixelPosition(std::int64_t index, const ltxmem::TensorView<T, 4>& view)
      : t(index / (view.extent(1) * view.extent(2))),
        y(index / view.extent(2) % view.extent(1)),
        x(index % view.extent(2)) {}
};

/// Runs a functor once per position of y, at the cost of reading x and writing y.
template <class Backend, class From, class To, class Fn>
void for_each_pixel(Backend& backend, const char* name, ltxmem::TensorView<From, 4> x, ltxmem::TensorView<To, 4> y,
                    Fn fn) {
  const std::int64_t bytes = x.size() * std::int64_t{sizeof(From)} + y.size() * std::int64_t{sizeof(To)};
  backend.for_each({.name = name, .flops = y.size(), .bytes = bytes}, y.extent(0) * y.extent(1) * y.extent(2), fn);
}

/// Pixels to channels: y [T, H/p, W/p, 3 p^2] with channel (c p + x offset) p + y offset: the x offset is the slower
/// one.
template <class T>
struct Patchify {
  ltxmem::TensorView<const float, 4> pixels;  ///< [T, H, W, 3]
  ltxmem::TensorView<T, 4> y;
  std::int64_t patch;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    T* out = &y(at.t, at.y, at.x, 0);
    for (std::int64_t c = 0; c < pixels.extent(3); ++c) {
      for (std::int64_t dx = 0; dx < patch; ++dx) {
        for (std::int64_t dy = 0; dy < patch; ++dy) {
          *out++ = T(pixels(at.t, at.y * patch + dy, at.x * patch + dx, c));
        }
      }
    }
  }
};

/// The inverse of Patchify, with pixel values from [-1, 1] to [0, 1], clamped; a patch has a run of pixels in each of
/// its rows.
template <class T>
struct Unpatchify {
  ltxmem::TensorView<const T, 4> x;
  ltxmem::TensorView<float, 4> runs;  ///< [T, H, W/p, 3 p]: the memory of [T, H, W, 3]
  std::int64_t patch;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, runs);
    const T* from = &x(at.t, at.y / patch, at.x, at.y % patch);
    float* to = &runs(at.t, at.y, at.x, 0);
    for (std::int64_t dx = 0; dx < patch; ++dx) {
      for (std::int64_t c = 0; c < runs.extent(3) / patch; ++c) {
        const float value = static_cast<float>(from[(c * patch + dx) * patch]);
        *to++ = std::clamp((value + 1.0F) * 0.5F, 0.0F, 1.0F);
      }
    }
  }
};

/// y = space-to-depth(x) + mean over groups of channels of space-to-depth(input), the factors (time, space, space).
///
/// Channel ((c p1 + i) p2 + j) p3 + k of a space-to-depth tensor is channel c at offset (i, j, k). The input starts
/// with extra_frames more copies of its first frame, which x has already: one where a clip begins and p1 = 2.
template <class T>
struct SpaceToDepthSum {
  ltxmem::TensorView<const T, 4> x;      ///< [T', H, W, out / volume]
  ltxmem::TensorView<const T, 4> input;  ///< [T, H, W, in]
  ltxmem::TensorView<T, 4> y;            ///< [T' / time, H / space, W / space, out]
  std::int64_t time;
  std::int64_t space;
  std::int64_t extra_frames;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    const std::int64_t volume = time * space * space;
    const std::int64_t group = input.extent(3) * volume / y.extent(3);
    for (std::int64_t channel = 0; channel < y.extent(3); ++channel) {
      float skip = 0.0F;
      for (std::int64_t from = channel * group; from < (channel + 1) * group; ++from) {
        const std::int64_t t = std::max<std::int64_t>(frame(at, from) - extra_frames, 0);
        skip += static_cast<float>(input(t, row(at, from), column(at, from), from / volume));
      }
      const float value =
          static_cast<float>(x(frame(at, channel), row(at, channel), column(at, channel), channel / volume));
      y(at.t, at.y, at.x, channel) = T(value + skip / static_cast<float>(group));
    }
  }

 private:
  LTXMEM_HOST_DEVICE std::int64_t frame(const PixelPosition& at, std::int64_t channel) const {
    return at.t * time + channel / (space * space) % time;
  }
  LTXMEM_HOST_DEVICE std::int64_t row(const PixelPosition& at, std::int64_t channel) const {
    return at.y * space + channel / space % space;
  }
  LTXMEM_HOST_DEVICE std::int64_t column(const PixelPosition& at, std::int64_t channel) const {
    return at.x * space + channel % space;
  }
};

/// y = depth-to-space(x) (+ depth-to-space(input), its channels repeated), from a position of it on: where a clip
/// begins and time is 2, its first frame is dropped.
template <class T>
struct DepthToSpace {
  ltxmem::TensorView<const T, 4> x;      ///< [T, H, W, out * volume]
  ltxmem::TensorView<const T, 4> input;  ///< [T, H, W, in] of the skip path, or empty
  ltxmem::TensorView<T, 4> y;            ///< of [time T, space H, space W, out]
  std::int64_t time;
  std::int64_t space;
  ltxmem::Extents<3> origin;  ///< frame, row and column that y begins with

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    const std::int64_t frame = at.t + origin[0];
    const std::int64_t row = at.y + origin[1];
    const std::int64_t column = at.x + origin[2];
    const std::int64_t volume = time * space * space;
    const std::int64_t offset = (frame % time * space + row % space) * space + column % space;
    const T* from = &x(frame / time, row / space, column / space, 0);
    T* to = &y(at.t, at.y, at.x, 0);
    if (input.empty()) {
      for (std::int64_t c = 0; c < y.extent(3); ++c) to[c] = from[c * volume + offset];
      return;
    }
    const T* skip = &input(frame / time, row / space, column / space, 0);
    const std::int64_t skip_channels = input.extent(3) / volume;
    for (std::int64_t c = 0; c < y.extent(3); ++c) {
      to[c] = T(static_cast<float>(from[c * volume + offset]) +
                static_cast<float>(skip[c % skip_channels * volume + offset]));
    }
  }
};

}  // namespace ltx2
