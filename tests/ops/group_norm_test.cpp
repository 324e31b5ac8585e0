// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/ops/group_norm.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltxmem;
using test::as_double;
using test::random_values;
using test::relative_error;

template <class T>
struct Example {
  std::int64_t positions;
  std::int64_t channels;
  GroupNormArguments<T> arguments;
  std::vector<T> x;
  std::vector<T> residual;
  std::vector<float> weight;
  std::vector<float> bias;

  Example(std::int64_t n, std::int64_t c, std::int64_t groups)
      : positions(n),
        channels(c),
        x(random_values<T>(n * c, 1)),
        residual(random_values<T>(n * c, 2)),
        weight(random_values<float>(c, 3)),
        bias(random_values<float>(c, 4)) {
    arguments = {.groups = groups,
                 .weight = TensorView<const float, 1>(weight.data(), {c}),
                 .bias = TensorView<const float, 1>(bias.data(), {c}),
                 .residual = TensorView<const T, 2>(residual.data(), {n, c}),
                 .silu = true};
  }

  TensorView<const T, 2> input() const { return {x.data(), {positions, channels}}; }

  std::vector<double> exact() const {
    const std::int64_t width = channels / arguments.groups;
    std::vector<double> y(x.size());
    for (std::int64_t group = 0; group < arguments.groups; ++group) {
      double sum = 0.0;
      double squares = 0.0;
      const auto each = [&](auto fn) {
        for (std::int64_t n = 0; n < positions; ++n) {
          for (std::int64_t c = group * width; c < (group + 1) * width; ++c) {
            fn(static_cast<std::size_t>(n * channels + c), static_cast<std::size_t>(c));
          }
        }
      };
      const auto count = static_cast<double>(positions * width);
      each([&](std::size_t i, std::size_t) { sum += as_double(x[i]); });
      each([&](std::size_t i, std::size_t) { squares += std::pow(as_double(x[i]) - sum / count, 2); });
      each([&](std::size_t i, std::size_t c) {
        const double normed = (as_double(x[i]) - sum / count) / std::sqrt(squares / count + 1e-5);
        const double z = normed * as_double(weight[c]) + as_double(bias[c]) + as_double(residual[i]);
        y[i] = z / (1.0 + std::exp(-z));
      });
    }
    return y;
  }

  std::vector<T> run(int threads = 2) const {
    CpuBackend<> backend({.threads = threads});
    HostResource memory;
    Arena arena(memory, group_norm_workspace_bytes(positions, channels, arguments.groups));
    std::vector<T> y(x.size());
    group_norm(backend, input(), arguments, TensorView<T, 2>(y.data(), {positions, channels}), arena);
    CHECK(arena.peak_bytes() == arena.capacity_bytes());
    return y;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("a group norm equals the formula in double precision", "", float, bfloat16) {
  for (const std::int64_t positions : {1, 7, 256, 1000}) {
    for (const std::int64_t groups : {1, 4, 12}) {
      const Example<TestType> example(positions, 12, groups);
      if (positions * 12 / groups == 1) continue;  // one value has no variance: every bit of it is rounding
      CHECK(relative_error(example.run(), example.exact()) <
            1.01 * test::rounding<TestType> + 32 * test::rounding<float>);
    }
  }
}

TEST_CASE("a group norm of pieces, some of which are never there together, equals that of all positions") {
  const std::int64_t piece = 300;  // a whole chunk and a ragged one
  const Example<float> example(4 * piece, 12, 3);
  CpuBackend<> backend({.threads = 2});
  HostResource memory;
  Arena arena(memory, 1 << 16);
  const std::int64_t chunks = group_norm_chunks(piece);
  CHECK(chunks == 2);
  const auto moments = arena.take<float, 3>("moments", {4 * chunks, 3, 2});
  const auto table = arena.take<float, 2>("table", {3, 12});
  std::vector<float> y(example.x.size());
  for (const std::int64_t i : {2, 0, 3, 1}) {
    group_norm_moments(backend, example.input().rows(i * piece, piece), moments.rows(i * chunks, chunks));
  }
  group_norm_table(backend, TensorView<const float, 3>(moments), piece, example.arguments, table, arena);
  for (std::int64_t i = 0; i < 4; ++i) {
    GroupNormArguments<float> arguments = example.arguments;
    arguments.residual = arguments.residual.rows(i * piece, piece);
    group_norm_apply(backend, example.input().rows(i * piece, piece), TensorView<const float, 2>(table), arguments,
                     TensorView<float, 2>(y.data(), {4 * piece, 12}).rows(i * piece, piece));
  }
  CHECK(relative_error(y, example.exact()) < 32 * test::rounding<float>);
  CHECK_THROWS_WITH(group_norm_moments(backend, example.input().rows(0, 257), moments.rows(0, 1)),
                    "group norm: moments of 1 chunks, 257 positions have 2");
  CHECK_THROWS_WITH(
      group_norm_table(backend, TensorView<const float, 3>(moments.rows(0, 3)), piece, example.arguments, table, arena),
      "group norm: moments 3 x 3 x 2 for 3 groups and pieces of 300 positions");
}

TEST_CASE("a group norm of values far from zero keeps its accuracy") {
  // With E[x^2] - E[x]^2 the variance of values around 1000 would have no correct digit in fp32.
  Example<float> example(3000, 8, 2);
  for (float& value : example.x) value += 1000.0F;
  CHECK(relative_error(example.run(), example.exact()) < 2e-4);  // x itself has 1000 * 2^-24 of rounding
}

TEST_CASE("a group norm gives the same bits for every thread count") {
  const Example<float> example(5000, 24, 8);
  const auto one = example.run(1);
  CHECK(example.run(2) == one);
  CHECK(example.run(5) == one);
}

TEST_CASE("a group norm may write over its input or over its residual") {
  Example<float> example(700, 16, 4);
  const auto expected = example.run();
  CpuBackend<> backend({.threads = 2});
  HostResource memory;
  Arena arena(memory, 1 << 16);
  auto over_residual = example.residual;
  GroupNormArguments<float> arguments = example.arguments;
  const TensorView<float, 2> target(over_residual.data(), {700, 16});
  arguments.residual = target;
  group_norm(backend, example.input(), arguments, target, arena);
  CHECK(over_residual == expected);
  auto over_input = example.x;
  const TensorView<float, 2> both(over_input.data(), {700, 16});
  group_norm(backend, TensorView<const float, 2>(both), example.arguments, both, arena);
  CHECK(over_input == expected);
}

TEST_CASE("the workspace of a group norm is what a dry run takes") {
  const Example<float> example(1234, 48, 16);
  DryRunBackend<CpuBackend<>::Target> dry;
  Arena imaginary = Arena::make_virtual();
  group_norm(dry, example.input(), example.arguments, TensorView<float, 2>(nullptr, {1234, 48}), imaginary);
  CHECK(imaginary.peak_bytes() == group_norm_workspace_bytes(1234, 48, 16));
}

TEST_CASE("a group norm refuses shapes that do not fit, naming both") {
  const Example<float> example(10, 12, 5);
  CpuBackend<> backend;
  Arena arena = Arena::make_virtual();
  std::vector<float> y(120);
  CHECK_THROWS_WITH(
      group_norm(backend, example.input(), example.arguments, TensorView<float, 2>(y.data(), {10, 12}), arena),
      "group norm: 12 channels in 5 groups");
  GroupNormArguments<float> arguments = example.arguments;
  arguments.groups = 4;
  CHECK_THROWS_WITH(group_norm(backend, example.input(), arguments, TensorView<float, 2>(y.data(), {9, 12}), arena),
                    "group norm: x 10 x 12, y 9 x 12");
  arguments.bias = arguments.bias.slice(0, 11);
  CHECK_THROWS_WITH(group_norm(backend, example.input(), arguments, TensorView<float, 2>(y.data(), {10, 12}), arena),
                    "group norm: bias of 11 elements for 12 channels");
}
