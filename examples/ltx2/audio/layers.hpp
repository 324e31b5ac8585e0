// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.hpp"
#include "model/convolution.hpp"
#include "model/layer_stack.hpp"
#include "video_vae/pixel_moves.hpp"

/// The layers that the audio encoder and decoder share. Activations are [1, time, frequency, C].
/// Source    docs/ltx2/vae.md 6

namespace ltx2 {

inline constexpr std::size_t time_axis = 1;

/// Causal in time (zeros in front only), centred in frequency.
inline ltxmem::ConvolutionGeometry audio_geometry(std::int64_t kernel) {
  const std::int64_t side = (kernel - 1) / 2;
  return {.kernel = {1, kernel, kernel}, .pad_before = {0, kernel - 1, side}, .pad_after = {0, 0, side}};
}

/// The convolution `<name>.conv` of a scope.
template <ltxmem::Element T, class Backend>
Convolution<T, Backend> audio_convolution(const WeightScope& weights, const std::string& name, std::int64_t outputs,
                                          std::int64_t inputs, std::int64_t kernel = 3) {
  return {weights.convolution(name + ".conv", outputs, inputs, {kernel, kernel}), audio_geometry(kernel)};
}

/// y = SiLU(x / sqrt(mean over channels(x^2) + 1e-6)); y may be x.
template <ltxmem::Element T, class Backend>
void audio_norm_silu(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y) {
  backend.norm(
      as_rows(x),
      ltxmem::NormArguments<T>{.kind = ltxmem::NormKind::rms, .eps = 1e-6F, .activation = ltxmem::Activation::silu},
      as_rows(y));
}

/// y = skip(x) + conv2(SiLU(norm(conv1(SiLU(norm(x)))))); skip is a 1x1 convolution when the channels change.
///
/// Memory    one more tensor like y; one like x unless the channels change
template <ltxmem::Element T, class Backend>
class AudioResidual {
 public:
  AudioResidual(const WeightScope& weights, std::int64_t inputs, std::int64_t outputs)
      : first_(audio_convolution<T, Backend>(weights, "conv1", outputs, inputs)),
        second_(audio_convolution<T, Backend>(weights, "conv2", outputs, outputs)) {
    if (inputs != outputs) skip_ = audio_convolution<T, Backend>(weights, "nin_shortcut", outputs, inputs, 1);
  }

  bool in_place() const noexcept { return !skip_; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const { return first_.output_extents(input); }
  ReceptiveField field(const ReceptiveField& outputs) const {
    return first_.field(second_.field(outputs, time_axis), time_axis);
  }

  void operator()(Backend& backend, ltxmem::TensorView<T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto hidden = arena.take<T>("residual block, hidden", y.extents());
    if (skip_) {
      (*skip_)(backend, x, y, arena);
      audio_norm_silu<T>(backend, x, x);
      first_(backend, x, hidden, arena);
    } else {
      const auto normed = arena.take<T>("residual block, normed", x.extents());
      audio_norm_silu<T>(backend, x, normed);
      first_(backend, normed, hidden, arena);
    }
    audio_norm_silu<T>(backend, hidden, hidden);
    second_.add(backend, hidden, y, arena);
  }

 private:
  Convolution<T, Backend> first_;
  Convolution<T, Backend> second_;
  std::optional<Convolution<T, Backend>> skip_;
};

/// Halves time (rounding up) and frequency: two zero steps in front of time, one behind frequency, stride 2.
template <ltxmem::Element T, class Backend>
class AudioDownsample {
 public:
  AudioDownsample(const WeightScope& weights, std::int64_t channels)
      : convolution_(weights.convolution("downsample.conv", channels, channels, {3, 3}),
                     {.kernel = {1, 3, 3}, .stride = {1, 2, 2}, .pad_before = {0, 2, 0}, .pad_after = {0, 0, 1}}) {}

  bool in_place() const noexcept { return false; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const {
    return convolution_.output_extents(input);
  }
  void operator()(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    convolution_(backend, x, y, arena);
  }

 private:
  Convolution<T, Backend> convolution_;
};

/// y = x with every time step and frequency twice.
template <class T>
struct RepeatTwice {
  ltxmem::TensorView<const T, 4> x;
  ltxmem::TensorView<T, 4> y;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t index) const {
    const PixelPosition at(index, y);
    for (std::int64_t c = 0; c < y.extent(3); ++c) y(0, at.y, at.x, c) = x(0, at.y / 2, at.x / 2, c);
  }
};

/// Time T to 2 T - 1 and frequency F to 2 F: every value twice, a causal convolution, the first time step dropped.
template <ltxmem::Element T, class Backend>
class AudioUpsample {
 public:
  AudioUpsample(const WeightScope& weights, std::int64_t channels)
      : convolution_(weights.convolution("upsample.conv.conv", channels, channels, {3, 3}), geometry()) {}

  bool in_place() const noexcept { return false; }
  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const {
    return convolution_.output_extents(doubled(input));
  }
  ReceptiveField field(const ReceptiveField& outputs) const {
    // Values are repeated like those of a transposed convolution with as many taps as its stride.
    return convolution_.field(outputs, time_axis)
        .through(ltxmem::TransposedConvolutionArguments{.kernel = 2, .stride = 2});
  }
  void operator()(Backend& backend, ltxmem::TensorView<const T, 4> x, ltxmem::TensorView<T, 4> y,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto twice = arena.take<T>("upsampling, doubled", doubled(x.extents()));
    for_each_pixel(backend, "repeat twice", x, twice, RepeatTwice<T>{x, twice});
    convolution_(backend, twice, y, arena);
  }

 private:
  /// One zero step less in front than other convolutions have: the first output is never computed.
  static ltxmem::ConvolutionGeometry geometry() {
    ltxmem::ConvolutionGeometry geometry = audio_geometry(3);
    geometry.pad_before[1] -= 1;
    return geometry;
  }
  static ltxmem::Extents<4> doubled(const ltxmem::Extents<4>& extents) noexcept {
    return {extents[0], 2 * extents[1], 2 * extents[2], extents[3]};
  }

  Convolution<T, Backend> convolution_;
};

}  // namespace ltx2
