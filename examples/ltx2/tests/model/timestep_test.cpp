// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/timestep.hpp"

#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"

namespace {

std::vector<float> sinusoid(const std::vector<float>& tau) {
  std::vector<float> values(tau.size() * 256);
  const auto rows = static_cast<std::int64_t>(tau.size());
  ltxmem::CpuBackend<> backend;
  backend.for_each({}, rows * 256,
                   ltx2::detail::TimestepSinusoid<float>{{tau.data(), {1, rows}}, {values.data(), {rows, 256}}});
  return values;
}

}  // namespace

TEST_CASE("The sinusoid of timestep 1000 is that of the format description", "[timestep]") {
  const std::vector<float> e = sinusoid({1000.0F});
  CHECK(e[0] == Approx(0.562379F).margin(1e-6));
  CHECK(e[1] == Approx(0.789615F).margin(2e-5));
  CHECK(e[127] == Approx(0.994232F).margin(1e-6));
  CHECK(e[128] == Approx(0.826880F).margin(1e-6));
  CHECK(e[129] == Approx(0.613603F).margin(2e-5));
  CHECK(e[255] == Approx(0.107254F).margin(1e-6));
}

TEST_CASE("The sinusoid of timestep 0 is one and zero", "[timestep]") {
  const std::vector<float> e = sinusoid({500.0F, 0.0F});
  for (std::size_t i = 0; i < 128; ++i) {
    CHECK(e[256 + i] == 1.0F);
    CHECK(e[384 + i] == 0.0F);
  }
}
