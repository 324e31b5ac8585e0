// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/core/dtype.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace ltxmem;

namespace {

/// Every finite value of a storage type in ascending order, with its bits; of the two zeros the positive one.
template <class T>
std::vector<std::pair<double, unsigned>> finite_values() {
  std::vector<std::pair<double, unsigned>> values;
  for (unsigned bits = 0; bits < 1U << (8 * sizeof(T)); ++bits) {
    T stored;
    stored.bits = static_cast<decltype(stored.bits)>(bits);
    const double value = static_cast<float>(stored);
    if (std::isfinite(value) && !(value == 0.0 && std::signbit(value))) values.emplace_back(value, bits);
  }
  std::sort(values.begin(), values.end());
  return values;
}

template <class T>
unsigned narrowed(double value) {
  return T(static_cast<float>(value)).bits;
}

/// The value of a floating format from its definition: sign, exponent field and fraction.
double defined_value(unsigned bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const unsigned fraction = bits & ((1U << fraction_bits) - 1U);
  const unsigned exponent = (bits >> fraction_bits) & ((1U << exponent_bits) - 1U);
  const double sign = (bits >> (exponent_bits + fraction_bits)) != 0 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1U << fraction_bits), static_cast<int>(exponent) - bias - fraction_bits);
}

}  // namespace

TEST_CASE("dtype: every half, bfloat16 and float8 pattern has the value of its definition") {
  std::int64_t wrong = 0;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    half h;
    h.bits = static_cast<std::uint16_t>(bits);
    if ((bits & 0x7c00U) != 0x7c00U) wrong += static_cast<float>(h) != defined_value(bits, 5, 10);
    bfloat16 b;
    b.bits = static_cast<std::uint16_t>(bits);
    if ((bits & 0x7f80U) != 0x7f80U) wrong += static_cast<float>(b) != defined_value(bits, 8, 7);
  }
  for (unsigned bits = 0; bits < 256; ++bits) {
    float8_e4m3 f;
    f.bits = static_cast<std::uint8_t>(bits);
    if ((bits & 0x7fU) != 0x7fU) wrong += static_cast<float>(f) != defined_value(bits, 4, 3);
  }
  CHECK(wrong == 0);
}

TEST_CASE("dtype: infinities and NaN have their patterns") {
  const float infinity = std::numeric_limits<float>::infinity();
  half h;
  h.bits = 0x7c00;
  CHECK(static_cast<float>(h) == infinity);
  h.bits = 0xfc00;
  CHECK(static_cast<float>(h) == -infinity);
  std::int64_t wrong = 0;
  for (unsigned fraction = 1; fraction < 1024; ++fraction) {
    h.bits = static_cast<std::uint16_t>(0x7c00U | fraction);
    wrong += !std::isnan(static_cast<float>(h));
    h.bits = static_cast<std::uint16_t>(0xfc00U | fraction);
    wrong += !std::isnan(static_cast<float>(h));
  }
  for (unsigned fraction = 1; fraction < 128; ++fraction) {
    bfloat16 b;
    b.bits = static_cast<std::uint16_t>(0x7f80U | fraction);
    wrong += !std::isnan(static_cast<float>(b));
  }
  // The first and the last fraction, of which the half that bfloat16 keeps is all zeros or all ones.
  for (const unsigned bits : {0x7f800001U, 0x7fffffffU, 0xff800001U, 0xffffffffU}) {
    wrong += !std::isnan(static_cast<float>(bfloat16(std::bit_cast<float>(bits))));
  }
  for (const unsigned bits : {0x7fU, 0xffU}) {
    float8_e4m3 f;
    f.bits = static_cast<std::uint8_t>(bits);
    wrong += !std::isnan(static_cast<float>(f));
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("dtype: widening and narrowing gives back every pattern", "", bfloat16, half, float8_e4m3) {
  std::int64_t wrong = 0;
  for (unsigned bits = 0; bits < 1U << (8 * sizeof(TestType)); ++bits) {
    TestType stored;
    stored.bits = static_cast<decltype(stored.bits)>(bits);
    const float value = static_cast<float>(stored);
    if (std::isnan(value)) {
      wrong += !std::isnan(static_cast<float>(TestType(value)));
    } else {
      wrong += TestType(value).bits != bits;
    }
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("dtype: narrowing rounds to nearest, ties to even, between all neighbours", "", bfloat16, half,
                   float8_e4m3) {
  const auto values = finite_values<TestType>();
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    const auto [low, low_bits] = values[i];
    const auto [high, high_bits] = values[i + 1];
    const double middle = 0.5 * (low + high);
    const unsigned even = low_bits % 2 == 0 ? low_bits : high_bits;
    const double above = std::nextafter(static_cast<float>(middle), std::numeric_limits<float>::infinity());
    const double below = std::nextafter(static_cast<float>(middle), -std::numeric_limits<float>::infinity());
    const auto same = [](unsigned a, unsigned b) {  // the two zeros compare equal as values
      const unsigned magnitude = (1U << (8 * sizeof(TestType) - 1)) - 1U;
      return a == b || ((a & magnitude) == 0 && (b & magnitude) == 0);
    };
    if (static_cast<double>(static_cast<float>(middle)) == middle) wrong += !same(narrowed<TestType>(middle), even);
    if (below > low) wrong += !same(narrowed<TestType>(below), low_bits);
    if (above < high) wrong += !same(narrowed<TestType>(above), high_bits);
  }
  CHECK(wrong == 0);
}

TEST_CASE("dtype: past the largest value half and bfloat16 become infinite, float8 saturates") {
  CHECK(half(65504.0F).bits == 0x7bff);
  CHECK(half(65519.996F).bits == 0x7bff);
  CHECK(half(65520.0F).bits == 0x7c00);
  CHECK(half(-1e30F).bits == 0xfc00);
  CHECK(bfloat16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(bfloat16(-std::numeric_limits<float>::infinity()).bits == 0xff80);
  CHECK(float8_e4m3(448.0F).bits == 0x7e);
  CHECK(float8_e4m3(449.0F).bits == 0x7e);
  CHECK(float8_e4m3(-1e30F).bits == 0xfe);
  CHECK(float8_e4m3(std::numeric_limits<float>::infinity()).bits == 0x7e);
}

TEMPLATE_TEST_CASE("dtype: the sign of zero survives", "", bfloat16, half, float8_e4m3) {
  CHECK(TestType(0.0F).bits == 0);
  CHECK(TestType(-0.0F).bits == 1U << (8 * sizeof(TestType) - 1));
  CHECK(TestType(-1e-44F).bits == 1U << (8 * sizeof(TestType) - 1));
}

TEST_CASE("dtype: conversions work at compile time") {
  static_assert(bfloat16(1.0F).bits == 0x3f80);
  static_assert(half(1.0F).bits == 0x3c00);
  static_assert(float8_e4m3(1.0F).bits == 0x38);
  static_assert(static_cast<float>(half(0.333F)) != 0.333F);
  SUCCEED();
}

TEST_CASE("dtype: names and sizes are those of the file format") {
  struct Known {
    DType dtype;
    const char* name;
    std::size_t bytes;
  };
  for (const Known& known :
       {Known{DType::f32, "F32", 4}, Known{DType::bf16, "BF16", 2}, Known{DType::f16, "F16", 2},
        Known{DType::f8_e4m3, "F8_E4M3", 1}, Known{DType::f64, "F64", 8}, Known{DType::i8, "I8", 1},
        Known{DType::u8, "U8", 1}, Known{DType::i16, "I16", 2}, Known{DType::i32, "I32", 4},
        Known{DType::i64, "I64", 8}, Known{DType::boolean, "BOOL", 1}}) {
    CHECK(dtype_name(known.dtype) == known.name);
    CHECK(dtype_bytes(known.dtype) == known.bytes);
  }
  static_assert(dtype_of<float> == DType::f32 && dtype_of<const bfloat16> == DType::bf16 &&
                dtype_of<half> == DType::f16 && dtype_of<float8_e4m3> == DType::f8_e4m3);
}

TEST_CASE("dtype: with_floating_type hands over the type, and refuses what is not floating") {
  const auto size = [](DType dtype) { return with_floating_type(dtype, [](auto* type) { return sizeof(*type); }); };
  CHECK(size(DType::f32) == 4);
  CHECK(size(DType::bf16) == 2);
  CHECK(size(DType::f16) == 2);
  CHECK(size(DType::f8_e4m3) == 1);
  CHECK_THROWS_AS(size(DType::i32), ShapeError);
  CHECK_THROWS_WITH(size(DType::f64), "expected a floating type of at most 32 bits, found F64");
}
