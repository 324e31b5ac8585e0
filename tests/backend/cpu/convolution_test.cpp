// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/cpu/convolution_suite.hpp"
#include "ltxmem/backend/cpu/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "support/sparse_memory.hpp"

namespace {

using namespace ltxmem;
using namespace ltxmem::test;

using Target = CpuTarget<PortableGemm>;

}  // namespace

TEMPLATE_TEST_CASE("a 3x3x3 convolution equals its definition in double precision", "", float, bfloat16, half) {
  const Convolution<TestType> c({3, 5, 7, 6}, 5, cube);
  CHECK(relative_error(run(c, c.arguments()), c.exact()) < convolution_tolerance<TestType>);
}

TEST_CASE("every padding on every axis equals its definition") {
  for (const Padding time : {Padding::zeros, Padding::replicate, Padding::reflect}) {
    for (const Padding space : {Padding::zeros, Padding::replicate, Padding::reflect}) {
      const Convolution<float> c({4, 3, 5, 3}, 4, uneven_cube(time, space));
      CHECK(relative_error(run(c, c.arguments()), c.exact()) < convolution_tolerance<float>);
    }
  }
}

TEST_CASE("replicating a single frame repeats it") {
  ConvolutionGeometry geometry = cube;
  geometry.padding[0] = Padding::replicate;
  const Convolution<float> c({1, 4, 4, 2}, 3, geometry);
  CHECK(relative_error(run(c, c.arguments()), c.exact()) < convolution_tolerance<float>);
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
      {{3, 12, 9, 3}, 5, {.kernel = {2, 9, 3}, .pad_before = {0, 4, 1}, .pad_after = {1, 4, 1}}},
      {{2, 3, 4, 5}, 8, {}},
      {{1, 1, 1, 1}, 1, cube},
  };
  for (const Shape& shape : shapes) {
    const Convolution<float> c(shape.input, shape.outputs, shape.geometry);
    CHECK(relative_error(run(c, c.arguments()), c.exact()) < convolution_tolerance<float>);
  }
}

TEST_CASE("a convolution with more outputs than one product and more positions than one block equals its definition") {
  const Convolution<float> c({2, 13, 17, 2}, 1100, {.kernel = {1, 2, 2}});
  CHECK(relative_error(run(c, c.arguments()), c.exact()) < convolution_tolerance<float>);
}

TEMPLATE_TEST_CASE("a convolution with patches of several blocks equals its definition", "", float, bfloat16) {
  // 150 channels: blocks end in the middle of a tap; 1,500: taps are longer than a block.
  for (const std::int64_t channels : {150, 1500}) {
    ConvolutionGeometry geometry{.kernel = {2, 2, 3}, .pad_before = {1, 0, 1}, .pad_after = {0, 1, 1}};
    for (const Padding padding : {Padding::zeros, Padding::reflect}) {
      geometry.padding = {Padding::replicate, padding, padding};
      for (const std::int64_t step : {1, 2}) {
        geometry.stride = {1, 1, step};
        geometry.dilation = {1, 1, step};
        const Convolution<TestType> c({2, 3, 7, channels}, 9, geometry);
        CHECK(relative_error(run(c, c.arguments()), c.exact()) < convolution_tolerance<TestType>);
      }
    }
  }
}

TEMPLATE_TEST_CASE("weights that lie as a panel does are used in place, with gaps or without", "", float, bfloat16) {
  const std::int64_t gap = 5;
  struct Shape {
    std::int64_t channels, taps;
  };
  for (const Shape& shape : {Shape{40, 1}, Shape{1, 12}}) {
    const ConvolutionGeometry geometry{.kernel = {1, 1, shape.taps}};
    const Convolution<TestType> c({2, 13, 31, shape.channels}, 300, geometry);
    const auto expected = run(c, c.arguments());
    CHECK(relative_error(expected, c.exact()) < convolution_tolerance<TestType>);
    const std::int64_t columns = shape.channels * shape.taps;
    std::vector<TestType> spaced(static_cast<std::size_t>(300 * (columns + gap)));
    for (std::int64_t row = 0; row < 300; ++row) {
      std::copy_n(c.weight.begin() + row * columns, columns, spaced.begin() + row * (columns + gap));
    }
    ConvolutionArguments<TestType> arguments = c.arguments();
    arguments.weight = TensorView<const TestType, 2>(spaced.data(), {300, columns}, {columns + gap, 1});
    CHECK(cpu::convolution_workspace_bytes<PortableGemm, TestType>(2, arguments.weight, geometry) ==
          2 * cpu::detail::PatchScratch<PortableGemm, TestType>::bytes(cpu::detail::PatchBlocks(columns), 256));
    CHECK(same_bits(run(c, arguments), expected));
  }
}

TEST_CASE("no bit of a convolution depends on which other positions are computed") {
  const Convolution<float> c({6, 9, 31, 50}, 40, {.kernel = {1, 3, 3}});
  const auto whole = run(c, c.arguments());
  for (const std::int64_t frame : {1, 4}) {
    Convolution<float> one({1, 9, 31, 50}, 40, c.geometry);
    std::copy_n(c.x.begin() + frame * 9 * 31 * 50, one.x.size(), one.x.begin());
    std::copy_n(c.residual.begin() + frame * 7 * 29 * 40, one.residual.size(), one.residual.begin());
    const auto alone = run(one, one.arguments());
    CHECK(std::equal(alone.begin(), alone.end(), whole.begin() + frame * 7 * 29 * 40));
  }
}

TEST_CASE("weights of another type are expanded and give the bits of expanded weights") {
  Convolution<float> c({2, 6, 6, 9}, 700, cube);
  const auto narrow = random_values<bfloat16>(static_cast<std::int64_t>(c.weight.size()), 7);
  for (std::size_t i = 0; i < narrow.size(); ++i) c.weight[i] = static_cast<float>(narrow[i]);
  ConvolutionArguments<float> arguments = c.arguments();
  const auto expected = run(c, arguments);
  arguments.weight = TensorView<const bfloat16, 2>(narrow.data(), {700, 9 * 27});
  CHECK(run(c, arguments) == expected);
  CHECK(relative_error(expected, c.exact()) < convolution_tolerance<float>);
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

TEST_CASE("frames of a convolution may lie more than 2^32 elements apart") {
  const Convolution<float> c({3, 2, 3, 4}, 5, cube);
  const auto expected = run(c, c.arguments());
  constexpr std::int64_t stride = (std::int64_t{1} << 32) + 8;
  const SparseMemory<float> input(2 * stride + 24);
  const SparseMemory<float> output(2 * stride + 30);
  const TensorView<float, 4> x(input.data(), c.input, {stride, 12, 4, 1});
  const TensorView<float, 4> y(output.data(), c.output(), {stride, 15, 5, 1});
  for (std::int64_t t = 0; t < 3; ++t) std::copy_n(c.x.begin() + 24 * t, 24, &x(t, 0, 0, 0));
  ThreadPool pool(2);
  HostResource memory;
  Arena arena(memory, 1 << 24);
  cpu::convolve(pool, PortableGemm(), TensorView<const float, 4>(x), c.arguments(), y, arena);
  for (std::int64_t t = 0; t < 3; ++t) {
    CHECK(std::equal(&y(t, 0, 0, 0), &y(t, 0, 0, 0) + 30, expected.begin() + 30 * t));
  }
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

TEST_CASE("a transposed convolution equals its definition for the kernels and strides of vocoders") {
  struct Shape {
    std::int64_t kernel, stride, padding;
  };
  for (const Shape& s : {Shape{16, 6, 5}, Shape{15, 5, 5}, Shape{8, 2, 3}, Shape{4, 2, 1}, Shape{11, 5, 3},
                         Shape{12, 6, 3}, Shape{3, 1, 1}, Shape{5, 5, 0}, Shape{7, 4, 0}}) {
    for (const std::int64_t length : {1, 2, 40}) {
      const Transposed<float> t(length, 5, 3, s.kernel, s.stride, s.padding);
      CHECK(relative_error(t.run(), t.exact()) < convolution_tolerance<float>);
    }
  }
}

TEMPLATE_TEST_CASE("a transposed convolution over many channels and positions equals its definition", "", float,
                   bfloat16) {
  const Transposed<TestType> t(300, 20, 530, 8, 2, 3);
  CHECK(relative_error(t.run(), t.exact()) < convolution_tolerance<TestType>);
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
