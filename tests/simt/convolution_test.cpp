// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

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
  std::vector<double> expected = c.exact();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double rest = as_double(c.bias[i % static_cast<std::size_t>(c.outputs)]) + as_double(c.residual[i]);
    expected[i] = 0.5 * (expected[i] - rest) + rest;
  }
  CHECK(relative_error(y.values(), expected) < convolution_tolerance<T>);
  CHECK(report.counters.wavefronts == report.counters.ideal_wavefronts);
  CHECK(report.counters.global_stored_bytes == expected.size() * sizeof(T));
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
    ConvolutionGeometry geometry = cube;
    geometry.padding = {padding, padding, padding};
    geometry.pad_before = {2, 2, 1};
    geometry.pad_after = {0, 1, 2};
    check(Convolution<float>({3, 3, 5, 3}, 4, geometry), {});
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
