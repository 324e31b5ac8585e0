// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/elementwise.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "backend/cpu/rounded_by_software.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltxmem;

/// Sums, activations and both conversions of a row, each of which a compiler vectorises in its own way.
template <class T>
std::vector<float> some_of_everything(const std::vector<T>& row) {
  const auto count = static_cast<std::int64_t>(row.size());
  std::vector<float> made{cpu::row_sum(row.data(), count, [](float x) { return x * x; })};
  std::vector<float> values(row.size());
  std::vector<T> narrowed(row.size());
  for (const Activation activation : {Activation::gelu_tanh, Activation::silu, Activation::twice_sigmoid}) {
    cpu::widen(row.data(), count, values.data());
    for (float& value : values) value = value * 1.7F + 0.3F;
    cpu::activate(activation, values.data(), count);
    made.insert(made.end(), values.begin(), values.end());
    cpu::narrow(values.data(), count, narrowed.data());
    for (const T value : narrowed) made.push_back(static_cast<float>(value));
    cpu::transform_run(row.data(), count, narrowed.data(),
                       [&](float value, std::int64_t i) { return value * 1.7F + values[static_cast<std::size_t>(i)]; });
    for (const T value : narrowed) made.push_back(static_cast<float>(value));
  }
  return made;
}

TEMPLATE_TEST_CASE("wide vectors change no bit", "[cpu]", float, bfloat16, half) {
  const std::vector<TestType> row = test::random_values<TestType>(5003, 1);
  const std::vector<float> plain = some_of_everything(row);
  std::vector<float> wide;
  cpu::with_wide_vectors([&] { wide = some_of_everything(row); });
  CHECK(test::same_bits(plain, wide));
#if LTXMEM_X86_TARGETS
  if (!__builtin_cpu_supports("avx2")) return;
  cpu::detail::with_avx2([&] { wide = some_of_everything(row); });
  CHECK(test::same_bits(plain, wide));
  const test::RoundedBySoftware software;
  cpu::detail::with_avx2([&] { wide = some_of_everything(row); });
  CHECK(test::same_bits(plain, wide));
#endif
}

/// Numbers of every kind: ties and their neighbours in all exponents, subnormal ones, infinities, and numbers that are
/// none, quiet or not.
std::vector<float> numbers_of_every_kind() {
  std::vector<float> numbers;
  for (std::uint32_t exponent = 0; exponent < 512; ++exponent) {  // with the sign
    for (const std::uint32_t mantissa : {0x0U, 0x1U, 0x7fffU, 0x8000U, 0x8001U, 0x17fffU, 0x18000U, 0x3fffffU,
                                         0x400000U, 0x408000U, 0x7f7fffU, 0x7f8000U, 0x7fffffU}) {
      numbers.push_back(std::bit_cast<float>(exponent << 23 | mantissa));
    }
  }
  return numbers;
}

TEST_CASE("runs of every length and place are rounded to bfloat16 like single numbers", "[cpu]") {
  const std::vector<float> numbers = numbers_of_every_kind();
  for (std::int64_t count = 0; count <= 100; ++count) {
    for (std::int64_t begin = 0; begin + count + 3 <= static_cast<std::int64_t>(numbers.size()); begin += 61) {
      const bfloat16 untouched = std::bit_cast<bfloat16>(std::uint16_t{0x1234});
      std::vector<bfloat16> expected(static_cast<std::size_t>(count + 3), untouched);
      for (std::int64_t i = 0; i < count; ++i) {
        expected[static_cast<std::size_t>(i)] = bfloat16(numbers[static_cast<std::size_t>(begin + i)]);
      }
      std::vector<bfloat16> run(expected.size(), untouched);
      cpu::narrow(numbers.data() + begin, count, run.data());
      REQUIRE(test::same_bits(run, expected));
      std::vector<float> wide(static_cast<std::size_t>(count));
      cpu::widen(expected.data(), count, wide.data());
      for (std::int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        REQUIRE(std::bit_cast<std::uint32_t>(wide[at]) == std::uint32_t{expected[at].bits} << 16);
      }
    }
  }
}

TEMPLATE_TEST_CASE("a run past the caches has the bits of an ordinary one, wherever it begins", "[cpu]", float,
                   bfloat16, half) {
  const std::vector<float> numbers = numbers_of_every_kind();
  const auto fn = [](float value, std::int64_t i) { return value + static_cast<float>(i); };
  for (const std::int64_t count : {0, 1, 5, 31, 32, 33, 64, 100, 512}) {
    for (std::int64_t begin = 0; begin < 70; ++begin) {
      std::vector<TestType> ordinary(600, TestType(7.0F));
      std::vector<TestType> past(600, TestType(7.0F));
      cpu::transform_run(numbers.data(), count, ordinary.data() + begin, fn);
      cpu::transform_run(numbers.data(), count, past.data() + begin, fn, true);
      cpu::stream_fence();
      REQUIRE(test::same_bits(ordinary, past));
    }
  }
}

}  // namespace
