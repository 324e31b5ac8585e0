// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/core/shape.hpp"

#include <limits>

#include "support/catch.hpp"

using namespace ltxmem;

namespace {
constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
}

TEST_CASE("shape: counts and bytes are products") {
  CHECK(element_count(Extents<3>{2, 3, 4}) == 24);
  CHECK(element_count(Extents<1>{0}) == 0);
  CHECK(byte_count<float>(Extents<2>{3, 5}) == 60);
  CHECK(byte_count<char>(Extents<2>{1LL << 31, 1LL << 31}) == std::size_t{1} << 62);
}

TEST_CASE("shape: counts beyond 2^32 are exact") {
  CHECK(element_count(Extents<3>{230520, 4096, 48}) == 45322076160LL);
  CHECK(byte_count<float>(Extents<2>{1LL << 33, 3}) == std::size_t{12} << 33);
}

TEST_CASE("shape: a product that does not fit 63 bits is refused") {
  CHECK(checked_product(largest, 1) == largest);
  CHECK(checked_product(largest / 2, 2) == largest - 1);
  CHECK_THROWS_AS(checked_product(largest / 2 + 1, 2), ShapeError);
  CHECK_THROWS_AS(element_count(Extents<3>{1LL << 31, 1LL << 31, 2}), ShapeError);
  CHECK_THROWS_AS(byte_count<float>(Extents<1>{1LL << 61}), ShapeError);
  CHECK_THROWS_WITH(checked_product(4611686018427387904LL, 2), "shape: 4611686018427387904 x 2 overflows 63 bits");
}

TEST_CASE("shape: a zero extent makes even an absurd shape empty") {
  CHECK(element_count(Extents<2>{largest, 0}) == 0);
  CHECK(element_count(Extents<2>{0, largest}) == 0);
}

TEST_CASE("shape: negative extents are refused") {
  CHECK_THROWS_AS(checked_product(-1, 5), ShapeError);
  CHECK_THROWS_AS(element_count(Extents<2>{3, -1}), ShapeError);
  CHECK_THROWS_AS(element_count(Extents<2>{-1, 0}), ShapeError);
}

TEST_CASE("shape: strides are row-major") {
  CHECK(dense_strides(Extents<3>{2, 3, 4}) == Extents<3>{12, 4, 1});
  CHECK(dense_strides(Extents<1>{7}) == Extents<1>{1});
}

TEST_CASE("shape: rounding up and dividing up") {
  CHECK(round_up(0, 256) == 0);
  CHECK(round_up(1, 256) == 256);
  CHECK(round_up(256, 256) == 256);
  CHECK(round_up(257, 256) == 512);
  CHECK(ceil_div(0, 256) == 0);
  CHECK(ceil_div(256, 256) == 1);
  CHECK(ceil_div(257, 256) == 2);
}
