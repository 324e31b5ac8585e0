// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/convolution_suite.hpp"
#include "ltxmem/backend/cuda/arguments.cuh"
#include "simt/device_buffer.hpp"
#include "simt/launchers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;
using simt::DeviceBuffer;

namespace {

const simt::Options schedules[] = {{0, false}, {3, false}};

/// exact() with weights times the scale that the tests give to kernels.
template <class T>
std::vector<double> scaled(const Convolution<T>& c) {
  std::vector<double> expected = c.exact();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double rest = as_double(c.bias[i % static_cast<std::size_t>(c.outputs)]) + as_double(c.residual[i]);
    expected[i] = 0.5 * (expected[i] - rest) + rest;
  }
  return expected;
}

template <class T>
void check(const Convolution<T>& c, const simt::Options& options) {
  const DeviceBuffer<T> x("x", c.x);
  const DeviceBuffer<T> y("y", c.residual, true);  // in place of the residual
  const DeviceBuffer<T> weight("weight", c.weight);
  const DeviceBuffer<T> bias("bias", c.bias);
  const DeviceBuffer<float> scale("scale", std::vector<float>{0.5F});
  ConvolutionArguments<T> arguments = c.arguments();
  arguments.weight =
      WeightMatrix(TensorView<const T, 2>(weight.data(), {c.outputs, c.input[3] * c.geometry.taps()}), scale.data());
  arguments.bias = TensorView<const T, 1>(bias.data(), {c.outputs});
  arguments.residual = TensorView<const T, 4>(y.data(), c.output());
  const auto a = cuda::convolution_arguments<T>({x.data(), c.input}, arguments, {y.data(), c.output()});
  const auto report = simt::run_convolution<T>(a, options);
  REQUIRE(report.text() == "");
  const std::vector<double> expected = scaled(c);
  CHECK(relative_error(y.values(), expected) < convolution_tolerance<T>);
  CHECK(report.counters.wavefronts == report.counters.ideal_wavefronts);
  CHECK(report.counters.global_stored_bytes == expected.size() * sizeof(T));
}

/// How a convolution is given to the matrix units.
struct Given {
  std::int64_t group = 1 << 20;  ///< outputs at a time
  std::int64_t gap = 0;          ///< columns between rows of x, in eights, and three times as many rows between lines
  std::int64_t y_gap = 0;        ///< columns between rows of y
};

template <class T>
struct Computed {
  std::vector<T> y;
  simt::Counters counters;  ///< of the last group's convolution
};

/// Runs both kernels for one group of outputs after another; the panel has no room for more.
template <class T, class Places>
simt::Counters run_groups(const cuda::ConvolutionKernelArguments<Places>& a, std::int64_t group,
                          const simt::Options& options) {
  simt::Counters counters;
  for (std::int64_t begin = 0; begin < a.outputs; begin += group) {
    const std::int64_t end = std::min(a.outputs, begin + group);
    const DeviceBuffer<T> panel("panel", (end - begin) * a.taps * a.channels);
    const simt::Report arranged = simt::run_arrange_weights<T>(a, {panel.data(), begin, end}, options);
    REQUIRE(arranged.text() == "");
    const std::uint64_t weights = static_cast<std::uint64_t>((end - begin) * a.taps * a.channels);
    CHECK(arranged.counters.global_loaded_bytes == weights * dtype_bytes(a.weight.dtype));
    CHECK(arranged.counters.global_stored_bytes == weights * sizeof(T));
    const simt::Report report = simt::run_matrix_convolution<T>(a, {panel.data(), begin, end}, options);
    REQUIRE(report.text() == "");
    counters = report.counters;
    CHECK(counters.wavefronts == counters.ideal_wavefronts);
    CHECK(counters.global_stored_bytes == static_cast<std::uint64_t>(a.positions * (end - begin)) * sizeof(T));
  }
  return counters;
}

/// y in place of the residual, the weights as they are given.
template <class T, class W>
Computed<T> on_matrix_units(const Convolution<T>& c, const std::vector<W>& weights, const simt::Options& options,
                            const Given& given = {}) {
  const Extents<4> out = c.output();
  const std::int64_t x_pitch = c.input[3] + given.gap;
  const std::int64_t x_line = (c.input[2] + 3 * (given.gap / 8)) * x_pitch;
  const std::int64_t y_pitch = c.outputs + given.y_gap;
  std::vector<T> spread(static_cast<std::size_t>(c.input[0] * c.input[1] * x_line), T(std::nanf("")));
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(c.x.size()); ++i) {
    const std::int64_t at = i / c.input[3];
    const std::int64_t to = at / c.input[2] * x_line + at % c.input[2] * x_pitch + i % c.input[3];
    spread[static_cast<std::size_t>(to)] = c.x[static_cast<std::size_t>(i)];
  }
  std::vector<T> rows(static_cast<std::size_t>(out[0] * out[1] * out[2] * y_pitch), T(7.0F));
  for (std::size_t i = 0; i < c.residual.size(); ++i) {
    const auto outputs = static_cast<std::size_t>(c.outputs);
    rows[i / outputs * static_cast<std::size_t>(y_pitch) + i % outputs] = c.residual[i];
  }
  const DeviceBuffer<T> x("x", spread);
  const DeviceBuffer<T> y("y", rows, true);
  const DeviceBuffer<W> weight("weight", weights);
  const DeviceBuffer<T> bias("bias", c.bias);
  const DeviceBuffer<float> scale("scale", std::vector<float>{0.5F});
  const Extents<4> x_strides{c.input[1] * x_line, x_line, x_pitch, 1};
  const Extents<4> y_strides{out[1] * out[2] * y_pitch, out[2] * y_pitch, y_pitch, 1};
  ConvolutionArguments<T> arguments = c.arguments();
  arguments.weight =
      WeightMatrix(TensorView<const W, 2>(weight.data(), {c.outputs, c.input[3] * c.geometry.taps()}), scale.data());
  arguments.bias = TensorView<const T, 1>(bias.data(), {c.outputs});
  arguments.residual = TensorView<const T, 4>(y.data(), out, y_strides);
  const auto a = cuda::convolution_arguments<T>({x.data(), c.input, x_strides}, arguments, {y.data(), out, y_strides});
  REQUIRE(cuda::reads_pieces(a.places, a.channels));
  Computed<T> computed;
  computed.counters = run_groups<T>(a, given.group, options);
  const std::vector<T> stored = y.values();
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const bool between = static_cast<std::int64_t>(i) % y_pitch >= c.outputs;
    if (!between) computed.y.push_back(stored[i]);
    if (between && as_double(stored[i]) != 7.0) FAIL("wrote between rows of y");
  }
  return computed;
}

const simt::Options landings[] = {{0, false}, {0, true}, {3, false}, {4, true}};

template <class T>
void check_matrix(const Convolution<T>& c, const Given& given = {}) {
  for (const simt::Options& options : landings) {
    INFO("seed " << options.seed << ", early copies " << options.early_copies);
    CHECK(relative_error(on_matrix_units(c, c.weight, options, given).y, scaled(c)) < convolution_tolerance<T>);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("convolutions agree with double precision", "[convolution][quick]", float, bfloat16, half) {
  for (const simt::Options& options : schedules) {
    check(Convolution<TestType>({3, 4, 5, 6}, 5, cube), options);
    check(Convolution<TestType>({1, 1, 1, 17}, 65, {}), options);
  }
}

TEST_CASE("convolutions with every padding, strides and dilations agree with double precision", "[convolution]") {
  for (const Padding padding : {Padding::zeros, Padding::replicate, Padding::reflect}) {
    check(Convolution<float>({3, 3, 5, 3}, 4, uneven_cube(padding, padding)), {});
  }
  check(Convolution<float>({5, 6, 7, 2}, 3, {.kernel = {2, 1, 3}, .stride = {2, 3, 1}, .dilation = {1, 2, 2}}), {});
  check(Convolution<float>(
            {1, 1, 70, 18}, 3,
            {.kernel = {1, 1, 7}, .dilation = {1, 1, 5}, .pad_before = {0, 0, 15}, .pad_after = {0, 0, 15}}),
        {});
}

TEMPLATE_TEST_CASE("transposed convolutions agree with double precision", "[convolution][quick]", float, bfloat16,
                   half) {
  using T = TestType;
  for (const auto& [length, channels, outputs, kernel, stride, padding] :
       {std::array<std::int64_t, 6>{7, 5, 3, 4, 2, 1}, {1, 2, 1, 1, 1, 0}, {9, 17, 66, 11, 5, 3}}) {
    const Transposed<T> c(length, channels, outputs, kernel, stride, padding);
    const DeviceBuffer<T> x("x", c.x);
    const DeviceBuffer<T> weight("weight", c.weight);
    const DeviceBuffer<T> bias("bias", c.bias);
    const DeviceBuffer<T> y("y", c.output_length() * outputs);
    TransposedConvolutionArguments arguments = c.arguments;
    arguments.weight = TensorView<const T, 2>(weight.data(), {channels, outputs * kernel});
    arguments.bias = TensorView<const T, 1>(bias.data(), {outputs});
    const auto a = cuda::transposed_arguments<T>({x.data(), {length, channels}}, arguments,
                                                 {y.data(), {c.output_length(), outputs}});
    const auto report = simt::run_convolution<T>(a, {1, false});
    REQUIRE(report.text() == "");
    CHECK(relative_error(y.values(), c.exact()) < convolution_tolerance<T>);
  }
}

TEST_CASE("a 1 x 1 convolution loads each value once for each block of outputs", "[convolution]") {
  const Convolution<bfloat16> c({2, 5, 9, 32}, 70, {});
  const DeviceBuffer<bfloat16> x("x", c.x);
  const DeviceBuffer<bfloat16> weight("weight", c.weight);
  const DeviceBuffer<bfloat16> y("y", 90 * 70);
  ConvolutionArguments<bfloat16> arguments;
  arguments.weight = TensorView<const bfloat16, 2>(weight.data(), {70, 32});
  const auto report = simt::run_convolution<bfloat16>(
      cuda::convolution_arguments<bfloat16>({x.data(), c.input}, arguments, {y.data(), c.output()}), {});
  REQUIRE(report.text() == "");
  const std::uint64_t position_blocks = 2, output_blocks = 2;
  CHECK(report.counters.global_loaded_bytes == 2 * (90 * 32 * output_blocks + 70 * 32 * position_blocks));
}

TEMPLATE_TEST_CASE("convolutions on the matrix units agree with double precision in every schedule",
                   "[matrix convolution][quick]", bfloat16, half) {
  check_matrix(Convolution<TestType>({1, 1, 1, 8}, 1, {}));      // less than a step
  check_matrix(Convolution<TestType>({3, 4, 5, 8}, 5, cube));    // several taps in a step
  check_matrix(Convolution<TestType>({1, 2, 67, 24}, 131, {}));  // two tiles of positions and of outputs
  check_matrix(Convolution<TestType>({1, 5, 3, 72}, 12, {.kernel = {1, 2, 3}}));  // taps begin within a step
}

TEST_CASE("convolutions on the matrix units see what padding, strides and dilations say", "[matrix convolution]") {
  for (const Padding padding : {Padding::zeros, Padding::replicate, Padding::reflect}) {
    check_matrix(Convolution<bfloat16>({3, 3, 5, 16}, 9, uneven_cube(padding, padding)));
  }
  check_matrix(Convolution<half>({5, 6, 7, 8}, 3, {.kernel = {2, 1, 3}, .stride = {2, 3, 1}, .dilation = {1, 2, 2}}));
}

TEST_CASE("convolutions on the matrix units take rows apart, groups of outputs and weights of any type",
          "[matrix convolution][quick]") {
  using T = bfloat16;
  const Convolution<T> apart({2, 3, 4, 40}, 21, {.kernel = {1, 3, 2}, .pad_before = {0, 1, 0}});
  check_matrix(apart, {.group = 8, .gap = 8, .y_gap = 3});
  Convolution<T> c({2, 3, 5, 16}, 150, {.kernel = {2, 1, 1}});
  const auto narrow = random_values<float8_e4m3>(static_cast<std::int64_t>(c.weight.size()), 5);
  for (std::size_t i = 0; i < narrow.size(); ++i) c.weight[i] = static_cast<T>(static_cast<float>(narrow[i]));
  const std::vector<float> wide(narrow.begin(), narrow.end());
  CHECK(relative_error(on_matrix_units(c, narrow, {1, false}).y, scaled(c)) < convolution_tolerance<T>);
  CHECK(relative_error(on_matrix_units(c, wide, {1, true}, {.group = 128}).y, scaled(c)) < convolution_tolerance<T>);
}

TEST_CASE("no bit of a convolution on the matrix units depends on tiles or on groups of outputs",
          "[matrix convolution]") {
  using T = bfloat16;
  const Convolution<T> whole({4, 5, 50, 24}, 140, {.kernel = {2, 3, 3}});
  const std::vector<T> expected = on_matrix_units(whole, whole.weight, {}).y;
  CHECK(same_bits(on_matrix_units(whole, whole.weight, {}, {.group = 48}).y, expected));
  Convolution<T> part({3, 4, 41, 24}, 140, whole.geometry);  // from (1, 1, 7) on
  part.weight = whole.weight;
  part.bias = whole.bias;
  const auto cut = [](const std::vector<T>& from, const Extents<4>& of, const Extents<4>& extents) {
    std::vector<T> values;
    for (std::int64_t t = 0; t < extents[0]; ++t) {
      for (std::int64_t h = 0; h < extents[1]; ++h) {
        const auto begin = from.begin() + (((t + 1) * of[1] + h + 1) * of[2] + 7) * of[3];
        values.insert(values.end(), begin, begin + extents[2] * extents[3]);
      }
    }
    return values;
  };
  part.x = cut(whole.x, whole.input, part.input);
  part.residual = cut(whole.residual, whole.output(), part.output());
  CHECK(same_bits(on_matrix_units(part, part.weight, {}).y, cut(expected, whole.output(), part.output())));
}

TEMPLATE_TEST_CASE("transposed convolutions on the matrix units agree with double precision",
                   "[matrix convolution][quick]", bfloat16, half) {
  using T = TestType;
  for (const auto& [length, channels, outputs, kernel, stride, padding] :
       {std::array<std::int64_t, 6>{7, 8, 3, 4, 2, 1}, {1, 16, 1, 1, 1, 0}, {29, 24, 70, 11, 5, 3}}) {
    Transposed<T> c(length, channels, outputs, kernel, stride, padding);
    const bool with_bias = length != 1;
    if (!with_bias) std::fill(c.bias.begin(), c.bias.end(), T(0.0F));
    const DeviceBuffer<T> x("x", c.x);
    const DeviceBuffer<T> weight("weight", c.weight);
    const DeviceBuffer<T> bias("bias", c.bias);
    const DeviceBuffer<T> y("y", c.output_length() * outputs);
    TransposedConvolutionArguments arguments = c.arguments;
    arguments.weight = TensorView<const T, 2>(weight.data(), {channels, outputs * kernel});
    arguments.bias = {};
    if (with_bias) arguments.bias = TensorView<const T, 1>(bias.data(), {outputs});
    const auto a = cuda::transposed_arguments<T>({x.data(), {length, channels}}, arguments,
                                                 {y.data(), {c.output_length(), outputs}});
    REQUIRE(cuda::reads_pieces(a.places, a.channels));
    run_groups<T>(a, 64, {1, false});
    CHECK(relative_error(y.values(), c.exact()) < convolution_tolerance<T>);
  }
}

TEST_CASE("convolutions on the matrix units move the bytes of their formula", "[matrix convolution][quick]") {
  using T = bfloat16;
  CHECK(sizeof(cuda::MatrixConvolutionShared<T, 128>) == 49152);  // the kernel's comment
  CHECK(sizeof(cuda::MatrixConvolutionShared<T, 64>) == 36864);
  for (const std::uint64_t outputs : {136, 48}) {
    const Convolution<T> c({2, 7, 11, 40}, static_cast<std::int64_t>(outputs),
                           {.kernel = {3, 3, 3}, .pad_before = {2, 1, 1}, .pad_after = {0, 1, 1}});
    const simt::Counters counters = on_matrix_units(c, c.weight, {}).counters;
    const std::uint64_t tile = outputs > 64 ? 128 : 64;
    const std::uint64_t positions = 2 * 7 * 11, position_tiles = 2, output_tiles = (outputs + tile - 1) / tile;
    const std::uint64_t blocks = position_tiles * output_tiles, depth = 27 * 40;
    const std::uint64_t patches = (1 + 2) * (3 * 7 - 2) * (3 * 11 - 2);  // taps of positions that see no padding
    CHECK(counters.global_loaded_bytes == 2 * 40 * patches * output_tiles +
                                              2 * (depth + 256 / tile) * outputs * position_tiles + 4 * 256 * blocks +
                                              2 * positions * outputs);
    CHECK(counters.matrix_products == blocks * (128 / 16) * (tile / 8) * ((depth + 31) / 32) * 2);
  }
}

TEST_CASE("the matrix units are given no convolution whose rows are not whole pieces", "[matrix convolution]") {
  const auto pieces = [](const Extents<4>& strides, std::int64_t channels, std::int64_t offset = 0) {
    ConvolutionArguments<bfloat16> arguments;
    arguments.weight.columns = channels;
    alignas(16) static const bfloat16 memory[8] = {};
    const auto a = cuda::convolution_arguments<bfloat16>({memory + offset, {2, 2, 2, channels}, strides}, arguments,
                                                         {nullptr, Extents<4>{2, 2, 2, 1}});
    return cuda::reads_pieces(a.places, a.channels);
  };
  CHECK(pieces({64, 32, 16, 1}, 16));
  CHECK(pieces({64, 32, 16, 1}, 8));
  CHECK_FALSE(pieces({64, 32, 16, 1}, 12));
  CHECK_FALSE(pieces({64, 32, 12, 1}, 8));
  CHECK_FALSE(pieces({64, 36, 16, 1}, 8));
  CHECK_FALSE(pieces({68, 32, 16, 1}, 8));
  CHECK_FALSE(pieces({64, 32, 16, 1}, 8, 4));
}
