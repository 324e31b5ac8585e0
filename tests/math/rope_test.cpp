// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/math/rope.hpp"

#include <cmath>

#include "support/catch.hpp"

TEST_CASE("a quarter turn takes the first axis to the second") {
  float a = 3.0F;
  float b = 0.0F;
  ltxmem::rotate_pair(a, b, 0.0F, 1.0F);
  CHECK(a == 0.0F);
  CHECK(b == 3.0F);
}

TEST_CASE("turning a pair forth and back keeps it") {
  float a = 0.25F;
  float b = -1.5F;
  const float cosine = std::cos(0.7F);
  const float sine = std::sin(0.7F);
  ltxmem::rotate_pair(a, b, cosine, sine);
  CHECK(std::hypot(a, b) == Approx(std::hypot(0.25F, -1.5F)));
  CHECK(a == Approx(0.25 * std::cos(0.7) + 1.5 * std::sin(0.7)));
  ltxmem::rotate_pair(a, b, cosine, -sine);
  CHECK(a == Approx(0.25F));
  CHECK(b == Approx(-1.5F));
}
