// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/norm.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/numbers.hpp"
#include "support/sparse_memory.hpp"

namespace {

using namespace ltxmem;
using test::as_double;
using test::random_values;
using test::relative_error;

template <class T>
TensorView<T, 2> matrix(std::vector<T>& values, std::int64_t columns) {
  return {values.data(), {static_cast<std::int64_t>(values.size()) / columns, columns}};
}
template <class T>
TensorView<const T, 2> matrix(const std::vector<T>& values, std::int64_t columns) {
  return {values.data(), {static_cast<std::int64_t>(values.size()) / columns, columns}};
}
template <class T>
TensorView<const T, 1> line(const std::vector<T>& values) {
  return {values.data(), {static_cast<std::int64_t>(values.size())}};
}

/// Factor and mean of one row in double precision.
struct Statistics {
  double mean = 0.0;
  double factor = 1.0;
};
template <class T>
Statistics statistics(NormKind kind, const T* row, std::int64_t count, double eps) {
  double sum = 0.0;
  double squares = 0.0;
  for (std::int64_t i = 0; i < count; ++i) sum += as_double(row[i]);
  const double mean = kind == NormKind::layer ? sum / static_cast<double>(count) : 0.0;
  for (std::int64_t i = 0; i < count; ++i) squares += std::pow(as_double(row[i]) - mean, 2);
  if (kind == NormKind::none) return {};
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(count) + eps)};
}

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

/// A few roundings of fp32 on top of the one rounding to T.
template <class T>
constexpr double tolerance = 1.01 * test::rounding<T> + 16 * test::rounding<float>;

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

namespace {

struct HeadCase {
  std::int64_t tokens = 19;
  std::int64_t heads = 4;
  std::int64_t head_dim = 24;
  std::int64_t axes = 3;
  HeadNormArguments arguments;
  std::vector<float> cosine;
  std::vector<float> sine;
  std::vector<std::int32_t> coordinate;
  std::vector<float> weight;

  std::int64_t width() const { return heads * head_dim; }
  std::int64_t frequencies() const {
    const std::int64_t slots = (arguments.rotary.per_head ? head_dim : width()) / 2;
    return ceil_div(slots - arguments.rotary.identity_slots, axes);
  }

  /// Fills tables and coordinates after heads, axes, per_head and identity_slots are chosen.
  void fill() {
    constexpr std::int64_t coordinates = 11;
    const auto angles = random_values<float>(coordinates * frequencies(), 21);
    cosine.clear();
    sine.clear();
    for (const float angle : angles) {
      cosine.push_back(std::cos(3.0F * angle));
      sine.push_back(std::sin(3.0F * angle));
    }
    coordinate.clear();
    for (std::int64_t i = 0; i < tokens * axes; ++i)
      coordinate.push_back(static_cast<std::int32_t>(i * 7 % coordinates));
    weight = random_values<float>(arguments.per_head ? head_dim : width(), 22);
    arguments.heads = heads;
    arguments.weight = line(weight);
    arguments.rotary.cosine = matrix(std::as_const(cosine), frequencies());
    arguments.rotary.sine = matrix(std::as_const(sine), frequencies());
    arguments.rotary.coordinate = matrix(std::as_const(coordinate), axes);
  }
};

template <class T>
std::vector<double> exact_head_norm(const std::vector<T>& x, const HeadCase& c) {
  std::vector<double> y(x.size());
  const HeadNormArguments& a = c.arguments;
  for (std::int64_t n = 0; n < c.tokens; ++n) {
    const T* row = &x[static_cast<std::size_t>(n * c.width())];
    double* out = &y[static_cast<std::size_t>(n * c.width())];
    for (std::int64_t head = 0; head < c.heads; ++head) {
      const double factor = a.per_head ? statistics(a.kind, row + head * c.head_dim, c.head_dim, a.eps).factor
                                       : statistics(a.kind, row, c.width(), a.eps).factor;
      for (std::int64_t i = 0; i < c.head_dim; ++i) {
        const std::int64_t at = head * c.head_dim + i;
        out[at] = as_double(row[at]) * factor;
        if (!a.weight.empty()) out[at] *= double{a.weight_offset} + double{a.weight[a.per_head ? i : at]};
      }
      if (a.rotary.empty()) continue;
      for (std::int64_t r = 0; r < c.head_dim / 2; ++r) {
        const bool split = a.rotary.layout == RotaryLayout::split;
        double& low = out[head * c.head_dim + (split ? r : 2 * r)];
        double& high = out[head * c.head_dim + (split ? r + c.head_dim / 2 : 2 * r + 1)];
        const std::int64_t slot = a.rotary.per_head ? r : head * c.head_dim / 2 + r;
        if (slot < a.rotary.identity_slots) continue;
        const std::int64_t i = slot - a.rotary.identity_slots;
        const std::int64_t at = a.rotary.coordinate(n, i % c.axes);
        const double cosine = double{a.rotary.cosine(at, i / c.axes)};
        const double sine = double{a.rotary.sine(at, i / c.axes)};
        const double turned = low * cosine - high * sine;
        high = high * cosine + low * sine;
        low = turned;
      }
    }
  }
  return y;
}

template <class T>
std::vector<T> run_head_norm(std::vector<T> x, const HeadCase& c, int threads = 2) {
  ThreadPool pool(threads);
  cpu::head_norm(pool, matrix(x, c.width()), c.arguments);
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("a head norm with rotary embedding equals the formula in double precision", "", float, bfloat16) {
  for (const RotaryLayout layout : {RotaryLayout::split, RotaryLayout::interleaved}) {
    for (const bool per_head : {false, true}) {
      for (const std::int64_t identity : {0, 2}) {
        for (const std::int64_t axes : {1, 3}) {
          HeadCase c;
          c.axes = axes;
          c.arguments.per_head = per_head;
          c.arguments.weight_offset = 1.0F;
          c.arguments.rotary.per_head = per_head;
          c.arguments.rotary.layout = layout;
          c.arguments.rotary.identity_slots = identity;
          c.fill();
          const auto x = random_values<TestType>(c.tokens * c.width(), 23);
          CHECK(relative_error(run_head_norm(x, c), exact_head_norm(x, c)) < tolerance<TestType>);
        }
      }
    }
  }
}

TEST_CASE("slots of a wide row count through all heads") {
  // 2 heads of 1100: more slots than one run, identity slots reaching into the row, three axes.
  HeadCase c;
  c.tokens = 3;
  c.heads = 2;
  c.head_dim = 1100;
  c.arguments.rotary.identity_slots = 7;
  c.fill();
  const auto x = random_values<float>(c.tokens * c.width(), 24);
  CHECK(relative_error(run_head_norm(x, c), exact_head_norm(x, c)) < tolerance<float>);
}

TEST_CASE("a head norm without rotary table takes heads of any width") {
  for (const std::int64_t head_dim : {1, 7, 600}) {
    for (const bool per_head : {false, true}) {
      HeadCase c;
      c.head_dim = head_dim;
      c.arguments.per_head = per_head;
      c.weight = random_values<float>(per_head ? head_dim : c.width(), 25);
      c.arguments.heads = c.heads;
      c.arguments.weight = line(c.weight);
      const auto x = random_values<float>(c.tokens * c.width(), 26);
      CHECK(relative_error(run_head_norm(x, c), exact_head_norm(x, c)) < tolerance<float>);
    }
  }
}

TEST_CASE("a rotary embedding alone keeps the length of every pair") {
  HeadCase c;
  c.fill();
  c.arguments.kind = NormKind::none;
  c.arguments.weight = {};
  const auto x = random_values<float>(c.tokens * c.width(), 27);
  const auto y = run_head_norm(x, c);
  CHECK(y != x);
  double before = 0.0;
  double after = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    before += std::pow(as_double(x[i]), 2);
    after += std::pow(as_double(y[i]), 2);
  }
  CHECK(after == Approx(before).epsilon(1e-6));
}

TEST_CASE("a head norm gives the same bits for every thread count and cut") {
  HeadCase c;
  c.tokens = 600;
  c.head_dim = 64;
  c.fill();
  const auto x = random_values<float>(c.tokens * c.width(), 28);
  const auto whole = run_head_norm(x, c, 1);
  CHECK(run_head_norm(x, c, 3) == whole);
  ThreadPool pool(2);
  auto parts = x;
  for (const std::int64_t begin : {0, 256, 512}) {
    const std::int64_t count = std::min<std::int64_t>(256, c.tokens - begin);
    HeadNormArguments part = c.arguments;
    part.rotary = c.arguments.rotary.tokens(begin, count);
    cpu::head_norm(pool, matrix(parts, c.width()).rows(begin, count), part);
  }
  CHECK(parts == whole);
}

TEMPLATE_TEST_CASE("groups of heads with the factors of whole rows have the bits of the whole head norm", "", float,
                   bfloat16) {
  for (const RotaryLayout layout : {RotaryLayout::split, RotaryLayout::interleaved}) {
    HeadCase c;
    c.tokens = 300;
    c.head_dim = 40;
    c.arguments.rotary.layout = layout;
    c.arguments.rotary.identity_slots = 23;  // more than a head has
    c.fill();
    const auto x = random_values<TestType>(c.tokens * c.width(), 31);
    const auto whole = run_head_norm(x, c);
    ThreadPool pool(2);
    std::vector<float> factors(static_cast<std::size_t>(c.tokens));
    cpu::head_norm_factors(pool, matrix(x, c.width()), c.arguments.eps,
                           TensorView<float, 1>(factors.data(), {c.tokens}));
    for (const std::int64_t heads : {1, 2}) {
      auto parts = x;
      for (std::int64_t head = 0; head < c.heads; head += heads) {
        HeadNormArguments part = c.arguments;
        part.heads = heads;
        part.weight = line(c.weight).slice(0, head * c.head_dim, heads * c.head_dim);
        part.rotary.first_slot = head * c.head_dim / 2;
        part.row_factors = {factors.data(), {c.tokens}};
        cpu::head_norm(pool, matrix(parts, c.width()).columns(head * c.head_dim, heads * c.head_dim), part);
      }
      CHECK(std::memcmp(parts.data(), whole.data(), whole.size() * sizeof(TestType)) == 0);
    }
  }
}

TEST_CASE("a head norm refuses a token that stands outside of its rotary tables") {
  ThreadPool pool(1);
  HeadCase c;
  c.fill();
  auto x = random_values<float>(c.tokens * c.width(), 29);
  const auto before = x;
  const TensorView<const std::int32_t, 2> coordinate = c.arguments.rotary.coordinate;
  std::vector<std::int32_t> moved(coordinate.data(), coordinate.data() + coordinate.size());
  const std::int64_t rows = c.arguments.rotary.cosine.extent(0);
  HeadNormArguments arguments = c.arguments;
  arguments.rotary.coordinate = {moved.data(), coordinate.extents()};
  const std::string token = std::to_string(coordinate.extent(0) - 1);
  for (const std::int64_t row : {std::int64_t{-1}, rows}) {
    moved.back() = static_cast<std::int32_t>(row);
    CHECK_THROWS_WITH(cpu::head_norm(pool, matrix(x, c.width()), arguments),
                      "head norm: token " + token + " stands at row " + std::to_string(row) +
                          " of rotary tables with " + std::to_string(rows));
  }
  CHECK(x == before);
}

TEST_CASE("a head norm refuses shapes that do not fit, naming both") {
  ThreadPool pool(1);
  HeadCase c;
  c.fill();
  auto x = random_values<float>(c.tokens * c.width(), 29);
  const auto run = [&](const HeadNormArguments& arguments) { cpu::head_norm(pool, matrix(x, c.width()), arguments); };
  HeadNormArguments wrong = c.arguments;
  wrong.heads = 5;
  CHECK_THROWS_WITH(run(wrong), "head norm: rows of 96 for 5 heads");
  wrong = c.arguments;
  wrong.per_head = true;
  CHECK_THROWS_WITH(run(wrong), "head norm: weight of 96 elements, expected 24");
  wrong = c.arguments;
  wrong.kind = NormKind::layer;
  CHECK_THROWS_AS(run(wrong), ShapeError);
  wrong = c.arguments;
  wrong.rotary = c.arguments.rotary.tokens(0, 4);
  CHECK_THROWS_WITH(run(wrong), "head norm: coordinates of 4 tokens and 3 axes for 19 tokens");
  wrong = c.arguments;
  wrong.rotary.cosine = c.arguments.rotary.cosine.columns(0, 3);
  wrong.rotary.sine = c.arguments.rotary.sine.columns(0, 3);
  CHECK_THROWS_WITH(run(wrong), "head norm: 48 turning slots, the tables have 3 frequencies for each of 3 axes");
}
