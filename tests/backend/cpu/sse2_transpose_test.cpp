// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "ltxmem/backend/cpu/sse2_transpose.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

TEMPLATE_TEST_CASE("a matrix of any size is transposed, and nothing behind it is written", "", std::uint16_t, float) {
  for (const std::int64_t rows : {1, 3, 4, 8, 9, 31, 256, 530}) {
    for (const std::int64_t columns : {1, 2, 3, 4, 5, 8, 9, 12, 27}) {
      const auto count = static_cast<std::size_t>(rows * columns);
      std::vector<TestType> from(count);
      std::iota(from.begin(), from.end(), TestType(1));
      std::vector<TestType> to(count + 8, TestType(0));
      cpu::transpose(from.data(), rows, columns, to.data());
      bool equal = true;
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          equal = equal && to[static_cast<std::size_t>(column * rows + row)] ==
                               from[static_cast<std::size_t>(row * columns + column)];
        }
      }
      for (std::size_t i = count; i < to.size(); ++i) equal = equal && to[i] == TestType(0);
      CHECK(equal);
    }
  }
}
