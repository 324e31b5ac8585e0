// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/head_norm.hpp"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "backend/cpu/norm_reference.hpp"
#include "backend/cpu/rounded_by_software.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltxmem;
using test::as_double;
using test::line;
using test::matrix;
using test::random_values;
using test::relative_error;
using test::statistics;
using test::tolerance;

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
    // As in a video, the last axis is another one for every token and the others for some.
    for (std::int64_t n = 0; n < tokens; ++n) {
      for (std::int64_t axis = 0; axis < axes; ++axis) {
        coordinate.push_back(static_cast<std::int32_t>(((n >> (axes - 1 - axis)) * 7 + axis) % coordinates));
      }
    }
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
        for (const std::int64_t axes : {1, 2, 3}) {
          HeadCase c;
          c.axes = axes;
          c.head_dim = axes == 1 ? 26 : 24;  // an odd number of slots, and an even one
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

TEMPLATE_TEST_CASE("slots of a wide row count through all heads", "", float, bfloat16) {
  // 2 heads of 1100 have more slots than one run, 15 heads of 96 more than one group of heads. Identity slots reach
  // into the row.
  for (const std::int64_t heads : {2, 15}) {
    for (const RotaryLayout layout : {RotaryLayout::split, RotaryLayout::interleaved}) {
      HeadCase c;
      c.tokens = 5;
      c.heads = heads;
      c.head_dim = heads == 2 ? 1100 : 96;
      c.arguments.rotary.layout = layout;
      c.arguments.rotary.identity_slots = 7;
      c.fill();
      const auto x = random_values<TestType>(c.tokens * c.width(), 24);
      CHECK(relative_error(run_head_norm(x, c), exact_head_norm(x, c)) < tolerance<TestType>);
    }
  }
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

TEST_CASE("a head norm in bfloat16 has the same bits on every processor") {
  for (std::int64_t head_dim = 2; head_dim <= 1100; head_dim += head_dim < 136 ? 2 : 482) {
    for (const RotaryLayout layout : {RotaryLayout::split, RotaryLayout::interleaved}) {
      for (const std::int64_t axes : {1, 2, 3, 5}) {
        HeadCase c;
        c.tokens = 3;
        c.heads = 3;
        c.head_dim = head_dim;
        c.axes = axes;
        c.arguments.rotary.layout = layout;
        c.arguments.rotary.identity_slots = head_dim % 3 == 0 ? 1 : 0;
        c.fill();
        for (std::size_t i = 0; i < c.weight.size(); i += 5) c.weight[i] *= 1e-38F;
        const auto x = random_values<bfloat16>(c.tokens * c.width(), 32);
        const auto here = run_head_norm(x, c);
        const test::RoundedBySoftware software;
        REQUIRE(test::same_bits(run_head_norm(x, c), here));
      }
    }
  }
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
