// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cpu/elementwise.hpp"

#include <cstdint>
#include <vector>

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
  }
  return made;
}

TEMPLATE_TEST_CASE("wide vectors change no bit", "[cpu]", float, bfloat16, half) {
  const std::vector<TestType> row = test::random_values<TestType>(5003, 1);
  const std::vector<float> plain = some_of_everything(row);
  std::vector<float> wide;
  cpu::with_wide_vectors([&] { wide = some_of_everything(row); });
  CHECK(test::same_bits(plain, wide));
}

}  // namespace
