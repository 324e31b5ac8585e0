// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/core/weight_view.hpp"

#include <vector>

#include "support/catch.hpp"

using namespace ltxmem;

TEST_CASE("weight matrix: remembers type, shape and stride of the view") {
  const std::vector<bfloat16> data(60);
  const WeightMatrix weight = TensorView<const bfloat16, 2>(data.data(), {5, 8}, {12, 1});
  CHECK(weight.dtype == DType::bf16);
  CHECK(weight.rows == 5);
  CHECK(weight.columns == 8);
  CHECK(weight.row_stride == 12);
  CHECK(weight.scale == nullptr);
  CHECK_FALSE(weight.empty());
  CHECK(WeightMatrix().empty());
}

TEST_CASE("weight matrix: slices move the address by elements of its type") {
  const std::vector<half> data(60);
  const float scale = 2.0F;
  const WeightMatrix weight(TensorView<const half, 2>(data.data(), {5, 8}, {12, 1}), &scale);
  const WeightMatrix rows = weight.row_slice(2, 3);
  CHECK(rows.data == weight.data + 2 * 12 * 2);
  CHECK(rows.rows == 3);
  CHECK(rows.scale == &scale);
  const WeightMatrix columns = weight.column_slice(3, 5);
  CHECK(columns.data == weight.data + 3 * 2);
  CHECK(columns.columns == 5);
  CHECK(columns.row_stride == 12);
  CHECK(weight.row_slice(5, 0).empty());
}

TEST_CASE("weight matrix: slices that leave it are refused") {
  const std::vector<float> data(40);
  const WeightMatrix weight = TensorView<const float, 2>(data.data(), {5, 8});
  CHECK_THROWS_WITH(weight.row_slice(4, 2), "weight matrix: rows 2 from 4 of 5");
  CHECK_THROWS_WITH(weight.column_slice(0, 9), "weight matrix: columns 9 from 0 of 8");
  CHECK_THROWS_AS(weight.row_slice(-1, 1), ShapeError);
}

TEST_CASE("weight matrix: columns must be contiguous") {
  const std::vector<float> data(40);
  const TensorView<const float, 2> transposed(data.data(), {5, 8}, {1, 5});
  CHECK_THROWS_WITH(WeightMatrix(transposed), "weight matrix: column stride 5, expected 1");
  CHECK_NOTHROW(WeightMatrix(TensorView<const float, 2>(data.data(), {5, 1}, {8, 7})));
}

TEST_CASE("weight vector: reads any floating type as float") {
  const std::vector<bfloat16> narrow{bfloat16(1.5F), bfloat16(-2.0F)};
  const std::vector<float8_e4m3> tiny{float8_e4m3(0.5F), float8_e4m3(448.0F)};
  const WeightVector a = TensorView<const bfloat16, 1>(narrow.data(), {2});
  const WeightVector b = TensorView<const float8_e4m3, 1>(tiny.data(), {2});
  CHECK(a[0] == 1.5F);
  CHECK(a[1] == -2.0F);
  CHECK(b[0] == 0.5F);
  CHECK(b[1] == 448.0F);
  CHECK(a.slice(1, 1)[0] == -2.0F);
  CHECK(WeightVector().empty());
  CHECK_THROWS_WITH(a.slice(1, 2), "weight vector: elements 2 from 1 of 2");
}
