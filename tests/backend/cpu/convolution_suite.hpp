// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/convolution.hpp"
#include "ltxmem/backend/cpu/portable_gemm.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

/// Convolutions on made-up data, run by any Gemm, and their definition in double precision.

namespace ltxmem::test {

template <class T>
struct Convolution {
  Extents<4> input;
  std::int64_t outputs;
  ConvolutionGeometry geometry;
  std::vector<T> x;
  std::vector<T> weight;
  std::vector<T> bias;
  std::vector<T> residual;

  Convolution(const Extents<4>& input_extents, std::int64_t output_channels, const ConvolutionGeometry& g)
      : input(input_extents),
        outputs(output_channels),
        geometry(g),
        x(random_values<T>(element_count(input_extents), 1)),
        weight(random_values<T>(output_channels * input_extents[3] * g.taps(), 2)),
        bias(random_values<T>(output_channels, 3)),
        residual(random_values<T>(element_count(output()), 4)) {}

  Extents<4> output() const {
    const Extents<3> positions = geometry.output_extents({input[0], input[1], input[2]});
    return {positions[0], positions[1], positions[2], outputs};
  }
  WeightMatrix matrix() const { return TensorView<const T, 2>(weight.data(), {outputs, input[3] * geometry.taps()}); }
  ConvolutionArguments<T> arguments() const {
    return {.weight = matrix(),
            .bias = TensorView<const T, 1>(bias.data(), {outputs}),
            .geometry = geometry,
            .residual = TensorView<const T, 4>(residual.data(), output())};
  }

  /// Straight from the definition, in double precision.
  std::vector<double> exact() const {
    const Extents<4> extents = output();
    const TensorView<const T, 4> view(x.data(), input);
    std::vector<double> y;
    for (std::int64_t t = 0; t < extents[0]; ++t) {
      for (std::int64_t h = 0; h < extents[1]; ++h) {
        for (std::int64_t w = 0; w < extents[2]; ++w) {
          for (std::int64_t o = 0; o < outputs; ++o) {
            double sum = as_double(bias[static_cast<std::size_t>(o)]) + as_double(residual[y.size()]);
            std::size_t tap = static_cast<std::size_t>(o * input[3] * geometry.taps());
            for (std::int64_t c = 0; c < input[3]; ++c) {
              for (std::int64_t i = 0; i < geometry.kernel[0]; ++i) {
                for (std::int64_t j = 0; j < geometry.kernel[1]; ++j) {
                  for (std::int64_t k = 0; k < geometry.kernel[2]; ++k, ++tap) {
                    const std::int64_t at[3] = {source(0, t, i), source(1, h, j), source(2, w, k)};
                    if (at[0] < 0 || at[1] < 0 || at[2] < 0) continue;
                    sum += as_double(weight[tap]) * as_double(view(at[0], at[1], at[2], c));
                  }
                }
              }
            }
            y.push_back(sum);
          }
        }
      }
    }
    return y;
  }

 private:
  std::int64_t source(std::size_t axis, std::int64_t output_at, std::int64_t tap) const {
    const std::int64_t extent = input[axis];
    std::int64_t at = output_at * geometry.stride[axis] + tap * geometry.dilation[axis] - geometry.pad_before[axis];
    while (at < 0 || at >= extent) {
      if (geometry.padding[axis] == Padding::zeros) return -1;
      if (geometry.padding[axis] == Padding::replicate) {
        at += at < 0 ? 1 : -1;
      } else {
        at = at < 0 ? -at : 2 * (extent - 1) - at;
      }
    }
    return at;
  }
};

template <class Gemm = PortableGemm, class T>
std::vector<T> run(const Convolution<T>& c, const ConvolutionArguments<T>& arguments, int threads = 2) {
  ThreadPool pool(threads);
  HostResource memory;
  Arena arena(memory, cpu::convolution_workspace_bytes<Gemm, T>(threads, arguments.weight, arguments.geometry) +
                          buffer_alignment);
  std::vector<T> y(static_cast<std::size_t>(element_count(c.output())));
  cpu::convolve(pool, Gemm(), TensorView<const T, 4>(c.x.data(), c.input), arguments,
                TensorView<T, 4>(y.data(), c.output()), arena);
  return y;
}

/// Rounding to T, and fp32 sums of some hundred products.
template <class T>
inline constexpr double convolution_tolerance = 1.01 * test::rounding<T> + 64 * test::rounding<float>;

inline constexpr ConvolutionGeometry cube{.kernel = {3, 3, 3}, .pad_before = {1, 1, 1}, .pad_after = {1, 1, 1}};

/// A cube that sees more in front than behind, or the other way round.
constexpr ConvolutionGeometry uneven_cube(Padding time, Padding space) {
  return {.kernel = {3, 3, 3}, .pad_before = {2, 2, 1}, .pad_after = {0, 1, 2}, .padding = {time, space, space}};
}

template <class T>
struct Transposed {
  std::int64_t length;
  std::int64_t channels;
  std::int64_t outputs;
  TransposedConvolutionArguments arguments;
  std::vector<T> x;
  std::vector<T> weight;
  std::vector<T> bias;

  Transposed(std::int64_t n, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
             std::int64_t padding)
      : length(n),
        channels(in),
        outputs(out),
        x(random_values<T>(n * in, 11)),
        weight(random_values<T>(in * out * kernel, 12)),
        bias(random_values<T>(out, 13)) {
    arguments = {.weight = TensorView<const T, 2>(weight.data(), {in, out * kernel}),
                 .bias = TensorView<const T, 1>(bias.data(), {out}),
                 .kernel = kernel,
                 .stride = stride,
                 .padding = padding};
  }

  std::int64_t output_length() const {
    return (length - 1) * arguments.stride + arguments.kernel - 2 * arguments.padding;
  }
  std::vector<double> exact() const {
    std::vector<double> y(static_cast<std::size_t>(output_length() * outputs));
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = as_double(bias[i % static_cast<std::size_t>(outputs)]);
    for (std::int64_t n = 0; n < length; ++n) {
      for (std::int64_t k = 0; k < arguments.kernel; ++k) {
        const std::int64_t at = n * arguments.stride + k - arguments.padding;
        if (at < 0 || at >= output_length()) continue;
        for (std::int64_t c = 0; c < channels; ++c) {
          for (std::int64_t o = 0; o < outputs; ++o) {
            y[static_cast<std::size_t>(at * outputs + o)] +=
                as_double(x[static_cast<std::size_t>(n * channels + c)]) *
                as_double(weight[static_cast<std::size_t>((c * outputs + o) * arguments.kernel + k)]);
          }
        }
      }
    }
    return y;
  }
  template <class Gemm = PortableGemm>
  std::vector<T> run(int threads = 2) const {
    ThreadPool pool(threads);
    HostResource memory;
    Arena arena(memory, cpu::transposed_workspace_bytes<Gemm, T>(threads, arguments));
    std::vector<T> y(static_cast<std::size_t>(output_length() * outputs));
    cpu::convolve_transposed(pool, Gemm(), TensorView<const T, 2>(x.data(), {length, channels}), arguments,
                             TensorView<T, 2>(y.data(), {output_length(), outputs}), arena);
    CHECK(arena.peak_bytes() == arena.capacity_bytes());
    return y;
  }
};

}  // namespace ltxmem::test
