// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/modulation.hpp"

#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"

namespace {

using namespace ltx2;
using Floats = std::vector<float>;
using Indices = std::vector<std::int32_t>;

DistinctValues distinct(const Floats& values) {
  return distinct_values({values.data(), {static_cast<std::int64_t>(values.size())}});
}

}  // namespace

TEST_CASE("Equal values of all tokens need no index", "[modulation]") {
  const DistinctValues values = distinct({0.5F, 0.5F, 0.5F});
  CHECK(values.values == Floats{0.5F});
  CHECK(values.index.empty());
}

TEST_CASE("Distinct values come in order of appearance", "[modulation]") {
  const DistinctValues values = distinct({0.9F, 0.0F, 0.9F, 0.3F, 0.0F});
  CHECK(values.values == Floats{0.9F, 0.0F, 0.3F});
  CHECK(values.index == Indices{0, 1, 0, 2, 1});
}

TEST_CASE("A modulation table is added to the rows of every distinct timestep", "[modulation]") {
  const std::vector<ltxmem::bfloat16> table{ltxmem::bfloat16(1.0F), ltxmem::bfloat16(2.0F), ltxmem::bfloat16(-3.0F),
                                            ltxmem::bfloat16(0.5F)};
  const Floats addend{10, 20, 30, 40, 50, 60, 70, 80};
  Floats sum(8);
  ltxmem::CpuBackend<> backend;
  add_table(backend, ltxmem::TensorView<const ltxmem::bfloat16, 2>(table.data(), {2, 2}), {addend.data(), {2, 4}},
            {sum.data(), {2, 4}});
  CHECK(sum == Floats{11, 22, 27, 40.5F, 51, 62, 67, 80.5F});
}

TEST_CASE("One row is added to every vector of a table", "[modulation]") {
  const Floats table{1, 2, 3, 4};
  const Floats embedding{10, 20, 30, 40};
  Floats sum(8);
  ltxmem::CpuBackend<> backend;
  add_table(backend, ltxmem::TensorView<const float, 2>(table.data(), {2, 2}), {embedding.data(), {2, 2}},
            {sum.data(), {2, 4}});
  CHECK(sum == Floats{11, 22, 13, 24, 31, 42, 33, 44});
}

TEST_CASE("A table that does not fit its rows is refused", "[modulation]") {
  const Floats table(4);
  const Floats addend(9);
  Floats sum(9);
  ltxmem::CpuBackend<> backend;
  CHECK_THROWS_AS(add_table(backend, ltxmem::TensorView<const float, 2>(table.data(), {2, 2}), {addend.data(), {3, 3}},
                            {sum.data(), {3, 3}}),
                  ltxmem::ShapeError);
}

TEST_CASE("Vectors of modulation rows are columns, shared by the tokens of a timestep", "[modulation]") {
  const Floats values{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const Indices index{1, 0, 1};
  const ModulationRows rows{{values.data(), {2, 6}}, {index.data(), {3}}, 2};
  const ltxmem::TokenRows last = rows[2];
  CHECK(last.rows.extents() == ltxmem::Extents<2>{2, 2});
  CHECK(last.rows(0, 0) == 4.0F);
  CHECK(last.rows(last.index(0), 1) == 11.0F);
  CHECK(last.tokens(1, 2).index(0) == 0);
}
