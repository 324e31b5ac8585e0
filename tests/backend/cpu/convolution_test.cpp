// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/convolution.hpp"

#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/portable_gemm.hpp"
#include "ltxmem/backend/cpu/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltxmem;
using test::as_double;
using test::random_values;
using test::relative_error;

using Target = CpuTarget<PortableGemm, PortableAttention>;

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

template <class T>
std::vector<T> run(const Convolution<T>& c, const ConvolutionArguments<T>& arguments, int threads = 2) {
  ThreadPool pool(threads);
  HostResource memory;
  Arena arena(memory, cpu::convolution_workspace_bytes<PortableGemm, T>(threads, arguments.weight, arguments.geometry) +
                          buffer_alignment);
  std::vector<T> y(static_cast<std::size_t>(element_count(c.output())));
  cpu::convolve(pool, PortableGemm(), TensorView<const T, 4>(c.x.data(), c.input), arguments,
                TensorView<T, 4>(y.data(), c.output()), arena);
  return y;
}

/// Rounding to T, and fp32 sums of some hundred products.
template <class T>
constexpr double tolerance = 1.01 * test::rounding<T> + 64 * test::rounding<float>;

constexpr ConvolutionGeometry cube{.kernel = {3, 3, 3}, .pad_before = {1, 1, 1}, .pad_after = {1, 1, 1}};

}  // namespace

TEMPLATE_TEST_CASE("a 3x3x3 convolution equals its definition in double precision", "", float, bfloat16, half) {
  const Convolution<TestType> c({3, 5, 7, 6}, 5, cube);
  CHECK(relative_error(run(c, c.arguments()), c.exact()) < tolerance<TestType>);
}

TEST_CASE("every padding on every axis equals its definition") {
  for (const Padding time : {Padding::zeros, Padding::replicate, Padding::reflect}) {
    for (const Padding space : {Padding::zeros, Padding::replicate, Padding::reflect}) {
      ConvolutionGeometry geometry = cube;
      geometry.padding = {time, space, space};
      geometry.pad_before = {2, 2, 1};
      geometry.pad_after = {0, 1, 2};
      const Convolution<float> c({4, 3, 5, 3}, 4, geometry);
      CHECK(relative_error(run(c, c.arguments()), c.exact()) < tolerance<float>);
    }
  }
}

TEST_CASE("replicating a single frame repeats it") {
  ConvolutionGeometry geometry = cube;
  geometry.padding[0] = Padding::replicate;
  const Convolution<float> c({1, 4, 4, 2}, 3, geometry);
  CHECK(relative_error(run(c, c.arguments()), c.exact()) < tolerance<float>);
}

TEST_CASE("strides, dilations and odd kernels equal their definition") {
  struct Shape {
    Extents<4> input;
    std::int64_t outputs;
    ConvolutionGeometry geometry;
  };
  const std::vector<Shape> shapes{
      {{1, 1, 50, 7},
       3,
       {.kernel = {1, 1, 7}, .dilation = {1, 1, 5}, .pad_before = {0, 0, 15}, .pad_after = {0, 0, 15}}},
      {{1, 9, 11, 4}, 6, {.kernel = {1, 3, 3}, .stride = {1, 2, 2}, .pad_before = {0, 2, 0}, .pad_after = {0, 0, 1}}},
      {{5, 6, 7, 2}, 3, {.kernel = {2, 1, 3}, .stride = {2, 3, 1}, .dilation = {1, 2, 2}}},
      {{2, 3, 4, 5}, 8, {}},
      {{1, 1, 1, 1}, 1, cube},
  };
  for (const Shape& shape : shapes) {
    const Convolution<float> c(shape.input, shape.outputs, shape.geometry);
    CHECK(relative_error(run(c, c.arguments()), c.exact()) < tolerance<float>);
  }
}

TEST_CASE("a convolution with more outputs than one product and more positions than one block equals its definition") {
  const Convolution<float> c({2, 13, 17, 2}, 1100, {.kernel = {1, 2, 2}});
  CHECK(relative_error(run(c, c.arguments()), c.exact()) < tolerance<float>);
}

TEST_CASE("weights of another type are expanded and give the bits of expanded weights") {
  Convolution<float> c({2, 6, 6, 9}, 700, cube);
  const auto narrow = random_values<bfloat16>(static_cast<std::int64_t>(c.weight.size()), 7);
  for (std::size_t i = 0; i < narrow.size(); ++i) c.weight[i] = static_cast<float>(narrow[i]);
  ConvolutionArguments<float> arguments = c.arguments();
  const auto expected = run(c, arguments);
  arguments.weight = TensorView<const bfloat16, 2>(narrow.data(), {700, 9 * 27});
  CHECK(run(c, arguments) == expected);
  CHECK(relative_error(expected, c.exact()) < tolerance<float>);
}

TEST_CASE("a scale of the weights multiplies the products and not the bias") {
  Convolution<float> c({1, 5, 5, 3}, 4, {.kernel = {1, 3, 3}});
  const float scale = 0.25F;
  ConvolutionArguments<float> arguments = c.arguments();
  arguments.weight.scale = &scale;
  const auto scaled = run(c, arguments);
  for (float& value : c.weight) value *= scale;
  CHECK(scaled == run(c, c.arguments()));
}

TEST_CASE("a convolution gives the same bits for every thread count") {
  // 6 positions: one block, so that the outputs are handed out in parts; 2 x 300 positions: several blocks.
  for (const Extents<4>& input : {Extents<4>{1, 2, 3, 5}, Extents<4>{2, 10, 30, 5}}) {
    const Convolution<float> c(input, 1030, cube);
    const auto one = run(c, c.arguments(), 1);
    CHECK(run(c, c.arguments(), 2) == one);
    CHECK(run(c, c.arguments(), 5) == one);
  }
}

TEST_CASE("the residual of a convolution may be its output") {
  const Convolution<float> c({2, 5, 9, 4}, 4, cube);
  const auto expected = run(c, c.arguments());
  ThreadPool pool(2);
  HostResource memory;
  Arena arena(memory, 1 << 24);
  auto y = c.residual;
  ConvolutionArguments<float> arguments = c.arguments();
  arguments.residual = TensorView<const float, 4>(y.data(), c.output());
  cpu::convolve(pool, PortableGemm(), TensorView<const float, 4>(c.x.data(), c.input), arguments,
                TensorView<float, 4>(y.data(), c.output()), arena);
  CHECK(y == expected);
}

TEST_CASE("a convolution reads and writes views with strides") {
  const Convolution<float> c({4, 5, 6, 3}, 2, cube);
  const auto expected = run(c, c.arguments());
  const Extents<4> wide_in{9, 7, 8, 5};
  std::vector<float> storage(static_cast<std::size_t>(element_count(wide_in)));
  const TensorView<float, 4> x =
      TensorView<float, 4>(storage.data(), wide_in).slice(0, 3, 4).slice(1, 1, 5).slice(2, 2, 6).slice(3, 1, 3);
  const TensorView<const float, 4> dense(c.x.data(), c.input);
  const auto each = [](const Extents<4>& extents, auto fn) {
    for (std::int64_t t = 0; t < extents[0]; ++t) {
      for (std::int64_t h = 0; h < extents[1]; ++h) {
        for (std::int64_t w = 0; w < extents[2]; ++w) {
          for (std::int64_t o = 0; o < extents[3]; ++o) fn(t, h, w, o);
        }
      }
    }
  };
  each(c.input, [&](auto... at) { x(at...) = dense(at...); });

  std::vector<float> out_storage(4 * 5 * 6 * 7, -1.0F);
  const TensorView<float, 4> y = TensorView<float, 4>(out_storage.data(), {4, 5, 6, 7}).slice(3, 4, 2);
  ThreadPool pool(1);
  HostResource memory;
  Arena arena(memory, 1 << 24);
  cpu::convolve(pool, PortableGemm(), TensorView<const float, 4>(x), c.arguments(), y, arena);
  bool equal = true;
  const TensorView<const float, 4> expected_view(expected.data(), c.output());
  each(c.output(), [&](auto... at) { equal = equal && y(at...) == expected_view(at...); });
  CHECK(equal);
  CHECK(out_storage[3] == -1.0F);
}

TEMPLATE_TEST_CASE("the workspace of a convolution is what a dry run and a real run take", "", float, bfloat16) {
  const Convolution<TestType> c({2, 6, 7, 9}, 600, cube);
  const auto narrow = random_values<half>(600 * 9 * 27, 8);
  for (const bool in_place : {true, false}) {
    ConvolutionArguments<TestType> arguments = c.arguments();
    if (!in_place) arguments.weight = TensorView<const half, 2>(narrow.data(), {600, 9 * 27});
    for (const int threads : {1, 3}) {
      DryRunBackend<Target> dry(Target{threads});
      const std::size_t asked = dry.convolution_workspace_bytes<TestType>(arguments.weight, cube);
      Arena imaginary = Arena::make_virtual();
      dry.convolve(TensorView<const TestType, 4>(c.x.data(), c.input), arguments,
                   TensorView<TestType, 4>(nullptr, c.output()), imaginary);
      CHECK(imaginary.peak_bytes() == asked);

      HostResource memory;
      CountingResource counted(memory);
      Arena arena(counted, asked);
      CHECK(counted.peak_bytes() == asked);
      ThreadPool pool(threads);
      std::vector<TestType> y(static_cast<std::size_t>(element_count(c.output())));
      cpu::convolve(pool, PortableGemm(), TensorView<const TestType, 4>(c.x.data(), c.input), arguments,
                    TensorView<TestType, 4>(y.data(), c.output()), arena);
      CHECK(arena.peak_bytes() == asked);
      CHECK(arena.used_bytes() == 0);
    }
  }
}

TEST_CASE("a convolution refuses shapes that do not fit, naming both") {
  const Convolution<float> c({2, 4, 4, 3}, 2, cube);
  ThreadPool pool(1);
  HostResource memory;
  Arena arena(memory, 1 << 20);
  std::vector<float> y(1000);
  const TensorView<const float, 4> x(c.x.data(), c.input);
  const auto attempt = [&](const ConvolutionArguments<float>& arguments, const Extents<4>& extents) {
    cpu::convolve(pool, PortableGemm(), x, arguments, TensorView<float, 4>(y.data(), extents), arena);
  };
  ConvolutionArguments<float> arguments = c.arguments();
  arguments.residual = {};
  CHECK_THROWS_WITH(attempt(arguments, {2, 4, 3, 2}), "convolution: y 2 x 4 x 3, expected 2 x 4 x 4");
  CHECK_THROWS_WITH(attempt(arguments, {2, 4, 4, 5}), "convolution: weight of 2 rows for 5 output channels");
  arguments.geometry.padding[0] = Padding::reflect;
  arguments.geometry.pad_before[0] = 2;
  CHECK_THROWS_WITH(attempt(arguments, {3, 4, 4, 2}), "convolution: extent 2 of axis 0 is too short to reflect 2");
  arguments = c.arguments();
  arguments.weight = arguments.weight.column_slice(0, 27);
  CHECK_THROWS_WITH(attempt(arguments, c.output()), "convolution: weight of 27 columns for 3 channels and 27 taps");
  Arena small(memory, 256);
  CHECK_THROWS_AS(
      cpu::convolve(pool, PortableGemm(), x, c.arguments(), TensorView<float, 4>(y.data(), c.output()), small),
      OutOfMemory);
}

namespace {

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
  std::vector<T> run(int threads = 2) const {
    ThreadPool pool(threads);
    HostResource memory;
    Arena arena(memory, cpu::transposed_workspace_bytes<PortableGemm, T>(threads, arguments));
    std::vector<T> y(static_cast<std::size_t>(output_length() * outputs));
    cpu::convolve_transposed(pool, PortableGemm(), TensorView<const T, 2>(x.data(), {length, channels}), arguments,
                             TensorView<T, 2>(y.data(), {output_length(), outputs}), arena);
    CHECK(arena.peak_bytes() == arena.capacity_bytes());
    return y;
  }
};

}  // namespace

TEST_CASE("a transposed convolution equals its definition for the kernels and strides of vocoders") {
  struct Shape {
    std::int64_t kernel, stride, padding;
  };
  for (const Shape& s : {Shape{16, 6, 5}, Shape{15, 5, 5}, Shape{8, 2, 3}, Shape{4, 2, 1}, Shape{11, 5, 3},
                         Shape{12, 6, 3}, Shape{3, 1, 1}, Shape{5, 5, 0}, Shape{7, 4, 0}}) {
    for (const std::int64_t length : {1, 2, 40}) {
      const Transposed<float> t(length, 5, 3, s.kernel, s.stride, s.padding);
      CHECK(relative_error(t.run(), t.exact()) < tolerance<float>);
    }
  }
}

TEMPLATE_TEST_CASE("a transposed convolution over many channels and positions equals its definition", "", float,
                   bfloat16) {
  const Transposed<TestType> t(300, 20, 530, 8, 2, 3);
  CHECK(relative_error(t.run(), t.exact()) < tolerance<TestType>);
}

TEST_CASE("a transposed convolution gives the same bits for every thread count") {
  const Transposed<float> t(700, 12, 9, 15, 5, 5);
  CHECK(t.run(4) == t.run(1));
}

TEST_CASE("the workspace of a transposed convolution is what a dry run takes") {
  const Transposed<float> t(50, 12, 600, 15, 5, 5);
  DryRunBackend<Target> dry(Target{3});
  Arena imaginary = Arena::make_virtual();
  dry.convolve_transposed(TensorView<const float, 2>(t.x.data(), {50, 12}), t.arguments,
                          TensorView<float, 2>(nullptr, {t.output_length(), 600}), imaginary);
  CHECK(imaginary.peak_bytes() == cpu::transposed_workspace_bytes<PortableGemm, float>(3, t.arguments));
}

TEST_CASE("a transposed convolution refuses shapes that do not fit, naming both") {
  const Transposed<float> t(10, 4, 3, 8, 2, 3);
  ThreadPool pool(1);
  HostResource memory;
  Arena arena(memory, 1 << 20);
  std::vector<float> y(1000);
  const TensorView<const float, 2> x(t.x.data(), {10, 4});
  const auto attempt = [&](const TransposedConvolutionArguments& arguments, std::int64_t rows, std::int64_t columns) {
    cpu::convolve_transposed(pool, PortableGemm(), x, arguments, TensorView<float, 2>(y.data(), {rows, columns}),
                             arena);
  };
  CHECK_THROWS_WITH(attempt(t.arguments, 19, 3), "transposed convolution: y of 19 rows, expected 20 for 10");
  CHECK_THROWS_WITH(attempt(t.arguments, 20, 4), "transposed convolution: weight 4 x 24, expected 4 x 32");
  TransposedConvolutionArguments gaps = t.arguments;
  gaps.stride = 9;
  CHECK_THROWS_AS(attempt(gaps, 20, 3), ShapeError);
}
