// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cmath>
#include <cstring>
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

TEMPLATE_TEST_CASE("norms without weights, tables or residual load nothing but the row", "[norm][head norm][quick]",
                   float, bfloat16, half) {
  using T = TestType;
  const std::int64_t rows = 2, heads = 3, head_dim = 22, width = heads * head_dim;
  const auto x = random_values<T>(rows * width, 6);
  const DeviceBuffer<T> from("from", x);
  for (const NormKind kind : {NormKind::none, NormKind::rms}) {
    const std::uint64_t passes = kind == NormKind::none ? 1 : 2;
    // Each part of a row by the root of its mean square, which is the row itself or a head.
    const auto expected = [&](std::int64_t part) {
      std::vector<double> values;
      for (std::int64_t i = 0; i < rows * width; ++i) {
        double square = 0.0;
        for (std::int64_t c = i / part * part; c < i / part * part + part; ++c) {
          square += std::pow(as_double(x[static_cast<std::size_t>(c)]), 2) / static_cast<double>(part);
        }
        values.push_back(as_double(x[static_cast<std::size_t>(i)]) /
                         (kind == NormKind::none ? 1.0 : std::sqrt(square + 1e-6)));
      }
      return values;
    };
    const DeviceBuffer<T> y("y", rows * width);
    cuda::NormKernelArguments<T> a;
    a.x = {from.data(), width};
    a.y = {y.data(), width};
    a.channels = width;
    a.kind = kind;
    const auto report = simt::run_norm<T>(a, rows, 1, {1, false});
    REQUIRE(report.text() == "");
    CHECK(relative_error(y.values(), expected(width)) < tolerance<T>());
    CHECK(report.counters.global_loaded_bytes == passes * x.size() * sizeof(T));
    for (const bool per_head : {false, true}) {
      const DeviceBuffer<T> in_place("in place", x, true);
      cuda::HeadNormKernelArguments<T> b;
      b.x = {in_place.data(), width};
      b.heads = heads;
      b.head_dim = head_dim;
      b.kind = kind;
      b.per_head = per_head;
      const auto head_report = simt::run_head_norm<T>(b, rows, {1, false});
      REQUIRE(head_report.text() == "");
      CHECK(relative_error(in_place.values(), expected(per_head ? head_dim : width)) < tolerance<T>());
      CHECK(head_report.counters.global_loaded_bytes == passes * x.size() * sizeof(T));
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

TEMPLATE_TEST_CASE("some heads of a row, with its factor and their place in the rotary tables, get the bits of the row",
                   "[head norm][quick]", float, bfloat16, half) {
  using T = TestType;
  const std::int64_t rows = 3, heads = 6, head_dim = 10, width = heads * head_dim, frequencies = 10, axes = 3;
  const auto x = random_values<T>(rows * width, 1);
  const DeviceBuffer<float> cosine("cosine", random_values<float>(4 * frequencies, 3));
  const DeviceBuffer<float> sine("sine", random_values<float>(4 * frequencies, 4));
  const DeviceBuffer<std::int32_t> coordinate("coordinate", {0, 2, 3, 1, 3, 0, 2, 2, 1});
  const DeviceBuffer<float> weight("weight", random_values<float>(width, 2));
  for (const RotaryLayout layout : {RotaryLayout::split, RotaryLayout::interleaved}) {
    cuda::HeadNormKernelArguments<T> a;
    const DeviceBuffer<T> whole("whole", x, true);
    a.x = {whole.data(), width};
    a.heads = heads;
    a.head_dim = head_dim;
    a.weight = {weight.data(), DType::f32};
    a.cosine = {cosine.data(), frequencies};
    a.sine = {sine.data(), frequencies};
    a.coordinate = {coordinate.data(), axes};
    a.axes = axes;
    a.identity_slots = 2;
    a.layout = layout;
    REQUIRE(simt::run_head_norm<T>(a, rows, {1, false}).text() == "");

    const DeviceBuffer<T> pieces("pieces", x, true);
    const DeviceBuffer<float> factors("factors", rows);
    const auto factored =
        simt::run_head_norm_factors<T>({pieces.data(), width}, rows, width, a.eps, factors.data(), {2, false});
    REQUIRE(factored.text() == "");
    CHECK(factored.counters.global_loaded_bytes == static_cast<std::uint64_t>(rows * width) * sizeof(T));
    CHECK(factored.counters.global_stored_bytes == static_cast<std::uint64_t>(rows) * 4);
    for (const std::int64_t first : {0, 2, 4}) {
      cuda::HeadNormKernelArguments<T> part = a;
      part.x = {pieces.data() + first * head_dim, width};
      part.heads = 2;
      part.first_slot = first * head_dim / 2;
      part.weight = {weight.data() + first * head_dim, DType::f32};
      part.row_factors = factors.data();
      REQUIRE(simt::run_head_norm<T>(part, rows, {}).text() == "");
    }
    CHECK(std::memcmp(pieces.data(), whole.data(), x.size() * sizeof(T)) == 0);
  }
}

TEMPLATE_TEST_CASE("the epilogue of a linear operation agrees with double precision", "[linear][quick]", float,
                   bfloat16, half) {
  using T = TestType;
  for (const std::int64_t columns : {1, 77, 300, 2048}) {
    for (const int width : {1, 4}) {
      if (columns % width != 0) continue;
      const std::int64_t rows = 2;
      const auto sums = random_values<float>(rows * columns, 1);
      const auto addend = random_values<float>(rows * columns, 2);
      const auto residual = random_values<T>(rows * columns, 3);
      const auto gate = random_values<float>(3 * columns, 4);
      const auto bias = random_values<bfloat16>(columns, 5);
      const std::vector<std::int32_t> index{2, 1};
      const DeviceBuffer<float> device_sums("sums", sums);
      const DeviceBuffer<float> device_addend("addend", addend);
      const DeviceBuffer<float> device_gate("gate", gate);
      const DeviceBuffer<bfloat16> device_bias("bias", bias);
      const DeviceBuffer<std::int32_t> device_index("index", index);
      for (const Activation activation :
           {Activation::none, Activation::gelu_tanh, Activation::silu, Activation::twice_sigmoid}) {
        const DeviceBuffer<T> y("y", residual, true);
        cuda::FinishKernelArguments<T> a;
        a.sums = {device_sums.data(), columns};
        a.addend = {device_addend.data(), columns};
        a.bias = {device_bias.data(), DType::bf16};
        a.activation = activation;
        a.gate = {device_gate.data(), columns, device_index.data()};
        a.residual = {y.data(), columns};
        a.y = {y.data(), columns};
        a.columns = columns;
        const auto report = simt::run_finish<T>(a, rows, width, {1, false});
        REQUIRE(report.text() == "");
        std::vector<double> expected;
        for (std::size_t i = 0; i < sums.size(); ++i) {
          const auto column = i % static_cast<std::size_t>(columns);
          const auto row = static_cast<std::size_t>(index[i / static_cast<std::size_t>(columns)]);
          const double value = as_double(sums[i]) + as_double(addend[i]) + as_double(bias[column]);
          expected.push_back(as_double(residual[i]) +
                             as_double(gate[row * static_cast<std::size_t>(columns) + column]) *
                                 reference_activation(activation, value));
        }
        CHECK(relative_error(y.values(), expected) < tolerance<T>());
        const auto elements = static_cast<std::uint64_t>(rows * columns);
        CHECK(report.counters.global_loaded_bytes ==
              elements * (4 + 4 + 4 + 2 + sizeof(T)) + elements / static_cast<std::uint64_t>(width) * 4);
        CHECK(report.counters.global_stored_bytes == elements * sizeof(T));
      }
      cuda::FinishKernelArguments<T> a;  // nothing but the sums
      const DeviceBuffer<T> y("y", rows * columns);
      a.sums = {device_sums.data(), columns};
      a.y = {y.data(), columns};
      a.columns = columns;
      const auto report = simt::run_finish<T>(a, rows, width, {});
      REQUIRE(report.text() == "");
      for (std::size_t i = 0; i < sums.size(); ++i) CHECK(as_double(y.data()[i]) == as_double(T(sums[i])));
      if (columns == 2048 && width == 4) CHECK(report.counters.sectors == report.counters.ideal_sectors);
    }
  }
}

TEST_CASE("the factors of a product are those of the term and of the weight", "[linear][quick]") {
  const DeviceBuffer<float> scale("scale", std::vector<float>{0.25F});
  const DeviceBuffer<float> factors("factors", 2);
  REQUIRE(simt::run_product_factors(3.0F, scale.data(), 1.0F, factors.data()).text() == "");
  CHECK(factors.values() == std::vector<float>{0.75F, 1.0F});
}

namespace {

template <class From, class To>
void check_cast(std::int64_t columns, int width) {
  const std::int64_t rows = 2;
  const auto values = random_values<From>(rows * columns, 9);
  const DeviceBuffer<From> from("from", values);
  const DeviceBuffer<To> to("to", rows * columns);
  const auto report =
      simt::run_cast<From, To>({from.data(), columns}, {to.data(), columns}, rows, columns, width, {1, false});
  REQUIRE(report.text() == "");
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(as_double(to.data()[i]) == as_double(To(static_cast<float>(values[i]))));
  }
  CHECK(report.counters.global_loaded_bytes == values.size() * sizeof(From));
  CHECK(report.counters.global_stored_bytes == values.size() * sizeof(To));
}

}  // namespace

TEST_CASE("casts round to nearest", "[elementwise][quick]") {
  for (const auto& [columns, width] : {std::pair{1, 1}, {77, 1}, {300, 4}, {4096, 4}}) {
    check_cast<float, bfloat16>(columns, width);
    check_cast<float, half>(columns, width);
    check_cast<bfloat16, float>(columns, width);
    check_cast<half, float>(columns, width);
    check_cast<float8_e4m3, float>(columns, width);
    check_cast<float8_e4m3, bfloat16>(columns, width);
    check_cast<float8_e4m3, half>(columns, width);
  }
}

TEMPLATE_TEST_CASE("a function is called for every index, or for every part of each call, and for no other",
                   "[elementwise][quick]", simt::Doubled, simt::DoubledByParts) {
  const std::int64_t each = cuda::threads_of_call<TestType>;
  CHECK(each == (std::is_same_v<TestType, simt::Doubled> ? 1 : 5));
  for (const std::int64_t count : {1, 51, 52, 256, 300}) {
    const auto x = random_values<float>(count * each, 8);
    const DeviceBuffer<float> from("from", x);
    const DeviceBuffer<float> to("to", count * each);
    TestType fn;
    fn.x = from.data();
    fn.y = to.data();
    const auto report = simt::run_for_each(fn, count, {1, false});
    REQUIRE(report.text() == "");
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(to.data()[i] == 2.0F * x[i]);
    CHECK(report.counters.global_stored_bytes == x.size() * sizeof(float));
  }
}
