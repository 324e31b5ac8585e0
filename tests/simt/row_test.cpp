// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cmath>
#include <vector>

#include "simt/device_buffer.hpp"
#include "simt/launchers.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;
using simt::DeviceBuffer;

namespace {

const simt::Options schedules[] = {{0, false}, {1, false}, {2, false}};

template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 2e-6 : 1.01 * rounding<T>;
}

double reference_activation(Activation activation, double z) {
  switch (activation) {
    case Activation::gelu_tanh:
      return 0.5 * z * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
    case Activation::silu: return z / (1.0 + std::exp(-z));
    case Activation::twice_sigmoid: return 2.0 / (1.0 + std::exp(-z));
    default: return z;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("norm with weight, modulation, activation and residual agrees with double precision",
                   "[norm][quick]", float, bfloat16, half) {
  using T = TestType;
  constexpr int wide = 16 / sizeof(T);
  for (const std::int64_t channels : {1, 33, 512, 1000}) {
    const int width = channels % 8 == 0 ? wide : 1;
    for (const NormKind kind : {NormKind::none, NormKind::rms, NormKind::layer}) {
      for (const simt::Options& options : schedules) {
        INFO("channels " << channels << ", kind " << static_cast<int>(kind) << ", seed " << options.seed);
        const std::int64_t rows = 3;
        const auto x = random_values<T>(rows * channels, 1);
        const auto residual = random_values<T>(rows * channels, 2);
        const auto weight = random_values<bfloat16>(channels, 3);
        const auto scale = random_values<float>(2 * channels, 4);
        const auto shift = random_values<float>(channels, 5);
        const std::vector<std::int32_t> index{1, 0, 1};
        const DeviceBuffer<T> device_x("x", x, true);
        const DeviceBuffer<T> device_residual("residual", residual);
        const DeviceBuffer<bfloat16> device_weight("weight", weight);
        const DeviceBuffer<float> device_scale("scale", scale);
        const DeviceBuffer<float> device_shift("shift", shift);
        const DeviceBuffer<std::int32_t> device_index("index", index);
        cuda::NormKernelArguments<T> a;
        a.x = {device_x.data(), channels};
        a.y = {device_x.data(), channels};  // in place
        a.residual = {device_residual.data(), channels};
        a.channels = channels;
        a.kind = kind;
        a.weight = {device_weight.data(), DType::bf16};
        a.weight_offset = 1.0F;
        a.scale = {device_scale.data(), channels, device_index.data()};
        a.shift = {device_shift.data(), channels, nullptr};
        a.activation = Activation::silu;
        const auto report = simt::run_norm<T>(a, rows, width, options);
        REQUIRE(report.text() == "");

        std::vector<double> expected;
        for (std::size_t n = 0; n < 3; ++n) {
          const auto count = static_cast<std::size_t>(channels);
          double mean = 0.0;
          double square = 0.0;
          for (std::size_t c = 0; c < count; ++c) mean += as_double(x[n * count + c]) / static_cast<double>(count);
          if (kind != NormKind::layer) mean = 0.0;
          for (std::size_t c = 0; c < count; ++c) square += std::pow(as_double(x[n * count + c]) - mean, 2);
          const double factor =
              kind == NormKind::none ? 1.0 : 1.0 / std::sqrt(square / static_cast<double>(count) + 1e-6);
          for (std::size_t c = 0; c < count; ++c) {
            double value = (as_double(x[n * count + c]) - mean) * factor * (1.0 + as_double(weight[c]));
            value =
                value * (1.0 + as_double(scale[static_cast<std::size_t>(index[n]) * count + c])) + as_double(shift[c]);
            expected.push_back(reference_activation(Activation::silu, value) + as_double(residual[n * count + c]));
          }
        }
        CHECK(relative_error(device_x.values(), expected) < tolerance<T>());
        const std::uint64_t size = sizeof(T);
        const std::uint64_t passes = kind == NormKind::none ? 1 : kind == NormKind::rms ? 2 : 3;
        const auto elements = static_cast<std::uint64_t>(rows * channels);
        CHECK(report.counters.global_loaded_bytes ==
              elements * ((passes + 1) * size + 2 + 8) + static_cast<std::uint64_t>(rows) * 4 * cuda::row_threads);
        CHECK(report.counters.global_stored_bytes == elements * size);
        CHECK(report.counters.wavefronts == report.counters.ideal_wavefronts);
      }
    }
  }
}

TEMPLATE_TEST_CASE("head norm and rotary embedding agree with double precision", "[head norm][quick]", float, bfloat16,
                   half) {
  using T = TestType;
  for (const bool per_head : {false, true}) {
    for (const RotaryLayout layout : {RotaryLayout::split, RotaryLayout::interleaved}) {
      for (const simt::Options& options : schedules) {
        const std::int64_t rows = 2, heads = 5, head_dim = 36, width = heads * head_dim;
        const std::int64_t slots = (per_head ? head_dim : width) / 2, still = 3, axes = 3;
        const std::int64_t frequencies = (slots - still + axes - 1) / axes;
        const auto x = random_values<T>(rows * width, 1);
        const auto weight = random_values<half>(per_head ? head_dim : width, 2);
        const auto cosine = random_values<float>(4 * frequencies, 3);
        const auto sine = random_values<float>(4 * frequencies, 4);
        const std::vector<std::int32_t> coordinate{0, 2, 3, 1, 3, 0};
        const DeviceBuffer<T> device_x("x", x, true);
        const DeviceBuffer<half> device_weight("weight", weight);
        const DeviceBuffer<float> device_cosine("cosine", cosine);
        const DeviceBuffer<float> device_sine("sine", sine);
        const DeviceBuffer<std::int32_t> device_coordinate("coordinate", coordinate);
        cuda::HeadNormKernelArguments<T> a;
        a.x = {device_x.data(), width};
        a.heads = heads;
        a.head_dim = head_dim;
        a.per_head = per_head;
        a.weight = {device_weight.data(), DType::f16};
        a.cosine = {device_cosine.data(), frequencies};
        a.sine = {device_sine.data(), frequencies};
        a.coordinate = {device_coordinate.data(), axes};
        a.axes = axes;
        a.identity_slots = still;
        a.layout = layout;
        a.rotary_per_head = per_head;
        const auto report = simt::run_head_norm<T>(a, rows, options);
        REQUIRE(report.text() == "");

        std::vector<double> expected(x.size());
        std::int64_t turning_slots = 0;
        for (std::int64_t n = 0; n < rows; ++n) {
          for (std::int64_t h = 0; h < heads; ++h) {
            const std::int64_t head_begin = n * width + h * head_dim;
            const std::int64_t begin = per_head ? head_begin : n * width;
            const std::int64_t count = per_head ? head_dim : width;
            double square = 0.0;
            for (std::int64_t i = 0; i < count; ++i)
              square += std::pow(as_double(x[static_cast<std::size_t>(begin + i)]), 2);
            const double factor = 1.0 / std::sqrt(square / static_cast<double>(count) + 1e-6);
            const auto value = [&](std::int64_t i) {
              const std::int64_t w = per_head ? i : h * head_dim + i;
              return as_double(x[static_cast<std::size_t>(head_begin + i)]) * factor *
                     as_double(weight[static_cast<std::size_t>(w)]);
            };
            for (std::int64_t r = 0; r < head_dim / 2; ++r) {
              const std::int64_t low = layout == RotaryLayout::split ? r : 2 * r;
              const std::int64_t high = layout == RotaryLayout::split ? r + head_dim / 2 : 2 * r + 1;
              const std::int64_t turning = (per_head ? r : h * head_dim / 2 + r) - still;
              double c = 1.0;
              double s = 0.0;
              if (turning >= 0) {
                ++turning_slots;
                const std::int64_t row = coordinate[static_cast<std::size_t>(n * axes + turning % axes)];
                c = as_double(cosine[static_cast<std::size_t>(row * frequencies + turning / axes)]);
                s = as_double(sine[static_cast<std::size_t>(row * frequencies + turning / axes)]);
              }
              expected[static_cast<std::size_t>(head_begin + low)] = value(low) * c - value(high) * s;
              expected[static_cast<std::size_t>(head_begin + high)] = value(high) * c + value(low) * s;
            }
          }
        }
        CHECK(relative_error(device_x.values(), expected) < tolerance<T>());
        CHECK(report.counters.global_loaded_bytes == static_cast<std::uint64_t>(rows * width) * (2 * sizeof(T) + 2) +
                                                         static_cast<std::uint64_t>(turning_slots) * 12);
        CHECK(report.counters.global_stored_bytes == static_cast<std::uint64_t>(rows * width) * sizeof(T));
      }
    }
  }
}

TEMPLATE_TEST_CASE("gated residual, activations and casts agree with double precision", "[elementwise][quick]", float,
                   bfloat16, half) {
  using T = TestType;
  constexpr int wide = 16 / sizeof(T);
  for (const std::int64_t columns : {1, 77, 300, 4096}) {
    for (const int width : {1, wide}) {
      if (columns % width != 0) continue;
      const std::int64_t rows = 2;
      const auto x = random_values<T>(rows * columns, 1);
      const auto residual = random_values<T>(rows * columns, 2);
      const auto gate = random_values<float>(3 * columns, 3);
      const std::vector<std::int32_t> index{2, 1};
      const DeviceBuffer<T> device_x("x", x);
      const DeviceBuffer<T> device_y("y", residual, true);
      const DeviceBuffer<float> device_gate("gate", gate);
      const DeviceBuffer<std::int32_t> device_index("index", index);
      const auto report = simt::run_gated_residual<T>({device_x.data(), columns}, {device_y.data(), columns},
                                                      {device_gate.data(), columns, device_index.data()},
                                                      {device_y.data(), columns}, rows, columns, width, {1, false});
      REQUIRE(report.text() == "");
      std::vector<double> expected;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const auto row = static_cast<std::size_t>(index[i / static_cast<std::size_t>(columns)]);
        const auto column = i % static_cast<std::size_t>(columns);
        expected.push_back(as_double(residual[i]) +
                           as_double(gate[row * static_cast<std::size_t>(columns) + column]) * as_double(x[i]));
      }
      CHECK(relative_error(device_y.values(), expected) < tolerance<T>());
      const auto elements = static_cast<std::uint64_t>(rows * columns);
      CHECK(report.counters.global_loaded_bytes ==
            elements * (2 * sizeof(T) + 4) + elements / static_cast<std::uint64_t>(width) * 4);
      CHECK(report.counters.global_stored_bytes == elements * sizeof(T));

      for (const Activation activation : {Activation::gelu_tanh, Activation::silu, Activation::twice_sigmoid}) {
        const DeviceBuffer<T> out("out", rows * columns);
        const auto activated = simt::run_activate<T>({device_x.data(), columns}, activation, {out.data(), columns},
                                                     rows, columns, width, {});
        REQUIRE(activated.text() == "");
        expected.clear();
        for (const T value : x) expected.push_back(reference_activation(activation, as_double(value)));
        CHECK(relative_error(out.values(), expected) < tolerance<T>());
        CHECK(activated.counters.global_loaded_bytes == activated.counters.global_stored_bytes);
        if (columns == 4096) CHECK(activated.counters.sectors == activated.counters.ideal_sectors);
      }
      if constexpr (!std::is_same_v<T, float>) {
        const DeviceBuffer<float> values("values", random_values<float>(rows * columns, 9));
        const DeviceBuffer<T> narrow("narrow", rows * columns);
        const DeviceBuffer<float> back("back", rows * columns);
        const int cast_width = columns % 4 == 0 ? 4 : 1;
        REQUIRE(
            simt::run_cast<float, T>({values.data(), columns}, {narrow.data(), columns}, rows, columns, cast_width, {})
                .text() == "");
        REQUIRE(
            simt::run_cast<T, float>({narrow.data(), columns}, {back.data(), columns}, rows, columns, cast_width, {})
                .text() == "");
        for (std::int64_t i = 0; i < rows * columns; ++i) {
          CHECK(narrow.data()[i].bits == T(values.data()[i]).bits);
          CHECK(back.data()[i] == static_cast<float>(T(values.data()[i])));
        }
      }
    }
  }
}
