// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/rotary.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace {

using namespace ltx2;

float midpoint_of(const TokenPositions& positions, std::int64_t token, std::int64_t axis) {
  auto row = static_cast<std::size_t>(positions.rows[static_cast<std::size_t>(token * positions.axes() + axis)]);
  for (std::int64_t before = 0; before < axis; ++before)
    row -= positions.midpoints[static_cast<std::size_t>(before)].size();
  return positions.midpoints[static_cast<std::size_t>(axis)].at(row);
}

struct Table {
  ltxmem::HostResource resource;
  ltxmem::Arena arena{resource, 1 << 22};
  ltxmem::CpuBackend<> backend;
};

}  // namespace

TEST_CASE("The frequency grid is that of the format description", "[rotary]") {
  const std::vector<float> video = rotary_frequencies(682, 10000, true);
  // The description prints eight digits, which is one unit in the last place of a float.
  CHECK(video.front() == Approx(1.5707964).epsilon(1.2e-7));
  CHECK(video[1] == Approx(1.5921852).epsilon(1.2e-7));
  CHECK(video[340] == Approx(156.02099).epsilon(1.2e-7));
  CHECK(video.back() == Approx(15707.963).epsilon(1.2e-7));
  CHECK(rotary_frequencies(1024, 10000, true)[1] == Approx(1.5850025).epsilon(1.2e-7));
}

TEST_CASE("A single frequency is the lowest one", "[rotary]") {
  CHECK(rotary_frequencies(1, 10000, true) == std::vector<float>{1.5707964F});
}

TEST_CASE("The grid in single precision is within rounding of the one in double", "[rotary]") {
  const std::vector<float> wide = rotary_frequencies(682, 10000, true);
  const std::vector<float> narrow = rotary_frequencies(682, 10000, false);
  CHECK(wide != narrow);
  for (std::size_t i = 0; i < wide.size(); ++i) CHECK(narrow[i] == Approx(wide[i]).epsilon(1e-6));
}

TEST_CASE("Slots that no axis has are identity slots", "[rotary]") {
  const RotaryGrid video{.width = 4096, .max_positions = {20, 2048, 2048}};
  CHECK(video.frequencies() == 682);
  CHECK(video.identity_slots() == 2);
  const RotaryGrid audio{.width = 2048, .max_positions = {20}};
  CHECK(audio.frequencies() == 1024);
  CHECK(audio.identity_slots() == 0);
}

TEST_CASE("Positions keep every coordinate once and give every token its own", "[rotary]") {
  const std::vector<float> midpoints{0.5F, 16, 48, 0.5F, 16, 16, 2.5F, 48, 48, 0.5F, 80, 16};
  const TokenPositions positions = distinct_positions({midpoints.data(), {4, 3}});
  CHECK(positions.tokens() == 4);
  CHECK(positions.midpoints == std::vector<std::vector<float>>{{0.5F, 2.5F}, {16, 48, 80}, {16, 48}});
  for (std::int64_t token = 0; token < 4; ++token) {
    for (std::int64_t axis = 0; axis < 3; ++axis) {
      CHECK(midpoint_of(positions, token, axis) == midpoints[static_cast<std::size_t>(token * 3 + axis)]);
    }
  }
}

TEST_CASE("Positions of many tokens are found again", "[rotary]") {
  std::vector<float> midpoints = ltxmem::test::random_values<float>(3000, 7);
  for (float& value : midpoints) value = std::round(value * 20.0F);
  const TokenPositions positions = distinct_positions({midpoints.data(), {1000, 3}});
  bool found = true;
  for (std::int64_t token = 0; token < 1000; ++token) {
    for (std::int64_t axis = 0; axis < 3; ++axis) {
      found = found && midpoint_of(positions, token, axis) == midpoints[static_cast<std::size_t>(token * 3 + axis)];
    }
  }
  CHECK(found);
  CHECK(positions.midpoints[0].size() <= 41);
}

TEST_CASE("A position that is not finite is refused", "[rotary]") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> midpoints{1, 2, bad, 4};
    CHECK_THROWS_AS(distinct_positions({midpoints.data(), {2, 2}}), ltxmem::ShapeError);
  }
}

TEST_CASE("Positions of a text count from zero", "[rotary]") {
  const TokenPositions positions = sequence_positions(5);
  CHECK(positions.tokens() == 5);
  for (std::int64_t token = 0; token < 5; ++token) CHECK(midpoint_of(positions, token, 0) == static_cast<float>(token));
}

TEST_CASE("Tables hold the angles of every coordinate in single precision", "[rotary]") {
  const std::vector<float> midpoints{0.02F, 16, 48, 19.0F, 48, 2032};
  const TokenPositions positions = distinct_positions({midpoints.data(), {2, 3}});
  const RotaryGrid grid{.width = 64, .max_positions = {20, 2048, 2048}, .double_precision = true};
  Table t;
  const auto rows = upload_rows(t.backend, positions, t.arena);
  const ltxmem::RotaryTable table = rotary_table(t.backend, grid, positions, rows, t.arena);
  CHECK(table.identity_slots == 2);
  CHECK(table.layout == ltxmem::RotaryLayout::split);
  REQUIRE(table.cosine.extents() == ltxmem::Extents<2>{6, 10});
  const std::vector<float> frequencies = rotary_frequencies(10, 10000, true);
  const std::vector<double> max_positions{20, 2048, 2048};
  for (std::int64_t token = 0; token < 2; ++token) {
    for (std::int64_t axis = 0; axis < 3; ++axis) {
      const auto max_position = static_cast<float>(max_positions[static_cast<std::size_t>(axis)]);
      const float u = 2.0F * (midpoints[static_cast<std::size_t>(token * 3 + axis)] / max_position) - 1.0F;
      for (std::int64_t slot = 0; slot < 10; ++slot) {
        const float angle = frequencies[static_cast<std::size_t>(slot)] * u;
        CHECK(table.cosine(table.coordinate(token, axis), slot) == std::cos(angle));
        CHECK(table.sine(table.coordinate(token, axis), slot) == std::sin(angle));
      }
    }
  }
}

TEST_CASE("A grid of one axis uses the first coordinate of tokens on three", "[rotary]") {
  const std::vector<float> midpoints{1, 16, 48, 2, 16, 16, 2, 48, 48};
  const TokenPositions positions = distinct_positions({midpoints.data(), {3, 3}});
  const RotaryGrid grid{.width = 8, .max_positions = {20}, .type = RopeType::interleaved};
  Table t;
  const auto rows = upload_rows(t.backend, positions, t.arena);
  const ltxmem::RotaryTable table = rotary_table(t.backend, grid, positions, rows, t.arena);
  CHECK(table.cosine.extents() == ltxmem::Extents<2>{2, 4});
  CHECK(table.coordinate.extents() == ltxmem::Extents<2>{3, 1});
  CHECK(table.coordinate(0, 0) == 0);
  CHECK(table.coordinate(1, 0) == 1);
  CHECK(table.coordinate(2, 0) == 1);
  CHECK(table.layout == ltxmem::RotaryLayout::interleaved);
}

TEST_CASE("A grid with more axes than the positions is refused", "[rotary]") {
  const TokenPositions positions = sequence_positions(3);
  const RotaryGrid grid{.width = 64, .max_positions = {20, 2048, 2048}};
  Table t;
  const auto rows = upload_rows(t.backend, positions, t.arena);
  CHECK_THROWS_AS(rotary_table(t.backend, grid, positions, rows, t.arena), ltxmem::ShapeError);
}
