// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/norm.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "backend/cpu/norm_reference.hpp"
#include "backend/cpu/rounded_by_software.hpp"
#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"
#include "support/sparse_memory.hpp"

namespace {

using namespace ltxmem;
using test::as_double;
using test::line;
using test::matrix;
using test::random_values;
using test::relative_error;
using test::statistics;
using test::tolerance;

double exact_activation(Activation activation, double z) {
  switch (activation) {
    case Activation::none: return z;
    case Activation::gelu_tanh: return 0.5 * z * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (z + 0.044715 * z * z * z)));
    case Activation::silu: return z / (1.0 + std::exp(-z));
    case Activation::twice_sigmoid: return 2.0 / (1.0 + std::exp(-z));
  }
  return 0.0;
}

template <class T>
std::vector<double> exact_norm(TensorView<const T, 2> x, const NormArguments<T>& arguments) {
  std::vector<double> y;
  for (std::int64_t n = 0; n < x.extent(0); ++n) {
    const auto [mean, factor] = statistics(arguments.kind, &x(n, 0), x.extent(1), arguments.eps);
    const auto chosen = [n](const TokenRows& rows) { return rows.index.empty() ? 0 : rows.index(n); };
    for (std::int64_t c = 0; c < x.extent(1); ++c) {
      double value = (as_double(x(n, c)) - mean) * factor;
      if (!arguments.weight.empty()) value *= double{arguments.weight_offset} + double{arguments.weight[c]};
      if (!arguments.scale.empty()) value *= 1.0 + double{arguments.scale.rows(chosen(arguments.scale), c)};
      if (!arguments.shift.empty()) value += double{arguments.shift.rows(chosen(arguments.shift), c)};
      value = exact_activation(arguments.activation, value);
      if (!arguments.residual.empty()) value += as_double(arguments.residual(n, c));
      y.push_back(value);
    }
  }
  return y;
}

template <class T>
std::vector<T> run_norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, int threads = 2) {
  ThreadPool pool(threads);
  std::vector<T> y(static_cast<std::size_t>(x.size()));
  cpu::norm(pool, x, arguments, matrix(y, x.extent(1)));
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("a row norm with everything on equals the formula in double precision", "", float, bfloat16, half) {
  for (const std::int64_t channels : {1, 3, 16, 100, 512, 1000}) {
    const auto x = random_values<TestType>(37 * channels, 1);
    const auto residual = random_values<TestType>(37 * channels, 2);
    const auto weight = random_values<TestType>(channels, 3);
    const auto scale = random_values<float>(5 * channels, 4);
    const auto shift = random_values<float>(channels, 5);
    std::vector<std::int32_t> index;
    for (std::int32_t n = 0; n < 37; ++n) index.push_back(n * 3 % 5);
    for (const NormKind kind : {NormKind::none, NormKind::rms, NormKind::layer}) {
      NormArguments<TestType> arguments;
      arguments.kind = kind;
      arguments.eps = 1e-3F;
      arguments.weight = line(weight);
      arguments.weight_offset = 1.0F;
      arguments.scale = {matrix(scale, channels), line(index)};
      arguments.shift = {matrix(shift, channels), {}};
      arguments.activation = Activation::silu;
      arguments.residual = matrix(residual, channels);
      const auto y = run_norm(matrix(x, channels), arguments);
      CHECK(relative_error(y, exact_norm(matrix(x, channels), arguments)) < tolerance<TestType>);
    }
  }
}

TEST_CASE("a plain rms norm gives rows of mean square one") {
  const auto x = random_values<float>(9 * 333, 6);
  const auto y = run_norm(matrix(x, 333), NormArguments<float>{.eps = 0.0F});
  for (std::int64_t n = 0; n < 9; ++n) {
    CHECK(statistics(NormKind::rms, &y[static_cast<std::size_t>(n * 333)], 333, 0.0).factor == Approx(1.0));
  }
}

TEST_CASE("every activation of a row norm equals its formula") {
  const auto x = random_values<float>(8 * 64, 7);
  for (const Activation activation :
       {Activation::none, Activation::gelu_tanh, Activation::silu, Activation::twice_sigmoid}) {
    const NormArguments<float> arguments{.kind = NormKind::layer, .activation = activation};
    CHECK(relative_error(run_norm(matrix(x, 64), arguments), exact_norm(matrix(x, 64), arguments)) < tolerance<float>);
  }
}

TEST_CASE("a norm's weight may have another type than the rows") {
  const auto x = random_values<float>(5 * 700, 8);
  const auto narrow = random_values<bfloat16>(700, 9);
  const NormArguments<float> arguments{.weight = line(narrow)};
  CHECK(relative_error(run_norm(matrix(x, 700), arguments), exact_norm(matrix(x, 700), arguments)) < tolerance<float>);
}

TEST_CASE("the statistics of a long row lose no accuracy") {
  // 188160 values around 3: one running fp32 sum of the squares would be off by about 1e-4.
  auto values = random_values<float>(188160, 10);
  for (float& value : values) value += 3.0F;
  const std::vector<float>& x = values;
  for (const NormKind kind : {NormKind::rms, NormKind::layer}) {
    const NormArguments<float> arguments{.kind = kind, .eps = 0.0F};
    CHECK(relative_error(run_norm(matrix(x, 188160), arguments), exact_norm(matrix(x, 188160), arguments)) < 1e-6);
  }
}

TEST_CASE("a row norm may write over its input or over its residual") {
  const auto x = random_values<float>(40 * 600, 11);
  const auto residual = random_values<float>(40 * 600, 12);
  const NormArguments<float> arguments{.activation = Activation::silu, .residual = matrix(residual, 600)};
  const auto expected = run_norm(matrix(x, 600), arguments);
  ThreadPool pool(2);

  auto over_input = x;
  cpu::norm(pool, matrix(std::as_const(over_input), 600), arguments, matrix(over_input, 600));
  CHECK(over_input == expected);

  auto over_residual = residual;
  NormArguments<float> aliased = arguments;
  aliased.residual = matrix(std::as_const(over_residual), 600);
  cpu::norm(pool, matrix(x, 600), aliased, matrix(over_residual, 600));
  CHECK(over_residual == expected);
}

TEST_CASE("a row norm gives the same bits for every thread count, cut and row stride") {
  constexpr std::int64_t channels = 1030;
  const auto x = random_values<float>(700 * channels, 13);
  const auto scale = random_values<float>(3 * channels, 14);
  std::vector<std::int32_t> index;
  for (std::int32_t n = 0; n < 700; ++n) index.push_back(n % 3);
  NormArguments<float> arguments{.kind = NormKind::layer, .scale = {matrix(scale, channels), line(index)}};
  const auto whole = run_norm(matrix(x, channels), arguments, 1);
  CHECK(run_norm(matrix(x, channels), arguments, 3) == whole);

  ThreadPool pool(2);
  std::vector<float> wide(700 * (channels + 7), -1.0F);
  const TensorView<float, 2> strided = matrix(wide, channels + 7).columns(5, channels);
  for (const std::int64_t begin : {0, 256, 512}) {
    const std::int64_t count = std::min<std::int64_t>(256, 700 - begin);
    NormArguments<float> part = arguments;
    part.scale = arguments.scale.tokens(begin, count);
    cpu::norm(pool, matrix(x, channels).rows(begin, count), part, strided.rows(begin, count));
  }
  bool equal = true;
  for (std::int64_t n = 0; n < 700; ++n) {
    for (std::int64_t c = 0; c < channels; ++c) {
      equal = equal && strided(n, c) == whole[static_cast<std::size_t>(n * channels + c)];
    }
  }
  CHECK(equal);
  CHECK(wide[4] == -1.0F);
  CHECK(wide[5 + channels] == -1.0F);
}

TEMPLATE_TEST_CASE("a row norm written past the caches has the bits of its parts", "", float, bfloat16) {
  // Rows begin at every address that an element may have, or all at the beginning of a line.
  const std::int64_t channels = GENERATE(1021, 1024);
  const auto activation = GENERATE(Activation::none, Activation::silu);
  const std::int64_t rows = static_cast<std::int64_t>(cpu::streamed_bytes / sizeof(TestType)) / channels + 1;
  const auto x = random_values<TestType>(rows * channels, 16);
  const auto shift = random_values<float>(channels, 17);
  const NormArguments<TestType> arguments{.shift = {matrix(shift, channels), {}}, .activation = activation};
  ThreadPool pool(2);
  HostResource host;
  Tensor<TestType, 2> aligned(host, {rows, channels});
  cpu::norm(pool, matrix(x, channels), arguments, aligned.view());
  const std::vector<TestType> whole(aligned.view().data(), aligned.view().data() + x.size());
  std::vector<TestType> parts(x.size());
  for (std::int64_t begin = 0; begin < rows; begin += 4096) {
    const std::int64_t count = std::min<std::int64_t>(4096, rows - begin);
    cpu::norm(pool, matrix(x, channels).rows(begin, count), arguments, matrix(parts, channels).rows(begin, count));
  }
  CHECK(test::same_bits(whole, parts));
}

TEST_CASE("a row norm in bfloat16 has the same bits on every processor") {
  for (std::int64_t channels = 1; channels <= 1030; channels += channels < 66 ? 1 : 241) {
    auto x = random_values<bfloat16>(5 * channels, 19);
    x.front() = bfloat16(1e-39F);
    const auto weight = random_values<float>(channels, 20);
    auto shift = random_values<float>(channels, 21);
    for (std::size_t c = 0; c < shift.size(); c += 3) shift[c] *= 1e-38F;  // of some sums, and more subnormal numbers
    const auto residual = random_values<bfloat16>(5 * channels, 22);
    for (const NormKind kind : {NormKind::none, NormKind::rms, NormKind::layer}) {
      for (const Activation activation : {Activation::none, Activation::silu}) {
        NormArguments<bfloat16> arguments;
        arguments.kind = kind;
        arguments.weight = line(weight);
        arguments.shift = {matrix(std::as_const(shift), channels), {}};
        arguments.activation = activation;
        if (activation == Activation::silu) arguments.residual = matrix(residual, channels);
        if (channels % 2 == 0) arguments.weight_offset = -1.0F;
        const auto here = run_norm(matrix(std::as_const(x), channels), arguments);
        const test::RoundedBySoftware software;
        REQUIRE(test::same_bits(run_norm(matrix(std::as_const(x), channels), arguments), here));
      }
    }
  }
}

TEST_CASE("a row norm of one row keeps what is not a number and what is not finite") {
  const auto x = random_values<bfloat16>(64, 18);
  std::vector<float> shift(64, 0.0F);
  shift[3] = std::bit_cast<float>(0x7fffffffU);  // what would overflow if it were rounded
  shift[8] = std::numeric_limits<float>::infinity();
  shift[9] = -std::numeric_limits<float>::infinity();
  const auto y = run_norm(matrix(x, 64), NormArguments<bfloat16>{.shift = {matrix(std::as_const(shift), 64), {}}});
  for (std::size_t c = 0; c < 64; ++c) {
    const auto value = static_cast<float>(y[c]);
    CAPTURE(c);
    if (c == 3) {
      CHECK(std::isnan(value));
    } else if (c == 8 || c == 9) {
      CHECK(value == shift[c]);
    } else {
      CHECK(std::isfinite(value));
    }
  }
}

TEST_CASE("rows of a norm may lie more than 2^32 elements apart") {
  constexpr std::int64_t stride = (std::int64_t{1} << 32) + 8;
  const test::SparseMemory<bfloat16> memory(2 * stride + 24);
  const auto x = random_values<bfloat16>(3 * 24, 15);
  const TensorView<bfloat16, 2> far(memory.data(), {3, 24}, {stride, 1});
  for (std::int64_t n = 0; n < 3; ++n) {
    for (std::int64_t c = 0; c < 24; ++c) far(n, c) = x[static_cast<std::size_t>(n * 24 + c)];
  }
  const NormArguments<bfloat16> arguments{.activation = Activation::silu};
  const auto near = run_norm(matrix(x, 24), arguments);
  ThreadPool pool(2);
  cpu::norm(pool, TensorView<const bfloat16, 2>(far), arguments, far);
  bool equal = true;
  for (std::int64_t n = 0; n < 3; ++n) {
    for (std::int64_t c = 0; c < 24; ++c)
      equal = equal && far(n, c).bits == near[static_cast<std::size_t>(n * 24 + c)].bits;
  }
  CHECK(equal);
}

TEST_CASE("a row norm of no rows does nothing") {
  ThreadPool pool(1);
  cpu::norm(pool, TensorView<const float, 2>(nullptr, {0, 8}), NormArguments<float>{},
            TensorView<float, 2>(nullptr, {0, 8}));
}

TEST_CASE("a row norm refuses shapes that do not fit, naming both") {
  ThreadPool pool(1);
  std::vector<float> x(24);
  std::vector<float> y(24);
  CHECK_THROWS_WITH(cpu::norm<float>(pool, matrix(std::as_const(x), 8), {}, matrix(y, 6)), "norm: x 3 x 8, y 4 x 6");
  NormArguments<float> arguments;
  arguments.weight = line(std::as_const(y)).slice(0, 0, 7);
  CHECK_THROWS_WITH(cpu::norm<float>(pool, matrix(std::as_const(x), 8), arguments, matrix(y, 8)),
                    "norm: weight of 7 elements for rows of 8");
  arguments = {};
  arguments.shift = {matrix(std::as_const(y), 6), {}};
  CHECK_THROWS_WITH(cpu::norm<float>(pool, matrix(std::as_const(x), 8), arguments, matrix(y, 8)),
                    "norm: shift has 6 columns, the rows have 8");
}
