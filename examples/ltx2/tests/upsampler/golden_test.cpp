// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.hpp"

TEST_CASE("The upsampler gives the reference's latent", "[golden]") {
  ltx2::test::check_golden_case("upsample", "upscaler_tiny_3x2x3", ltx2::run_upsample_case);
}
