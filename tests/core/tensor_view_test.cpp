// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/core/tensor_view.hpp"

#include <numeric>
#include <vector>

#include "support/catch.hpp"

using namespace ltxmem;

namespace {
std::vector<int> counting(std::size_t size) {
  std::vector<int> values(size);
  std::iota(values.begin(), values.end(), 0);
  return values;
}
}  // namespace

TEST_CASE("tensor view: indexing is row-major") {
  std::vector<int> data = counting(24);
  const TensorView<int, 3> view(data.data(), {2, 3, 4});
  CHECK(view(0, 0, 0) == 0);
  CHECK(view(1, 2, 3) == 23);
  CHECK(view(1, 0, 2) == 14);
  CHECK(view.size() == 24);
  CHECK(view.is_dense());
  view(0, 1, 1) = 99;
  CHECK(data[5] == 99);
}

TEST_CASE("tensor view: a default view is empty") {
  const TensorView<int, 2> view;
  CHECK(view.empty());
  CHECK(view.data() == nullptr);
  CHECK(view.extents() == Extents<2>{0, 0});
  CHECK(view.is_dense());
}

TEST_CASE("tensor view: slices share memory and keep strides") {
  std::vector<int> data = counting(24);
  const TensorView<int, 2> view(data.data(), {4, 6});
  const auto rows = view.rows(1, 2);
  CHECK(rows.extents() == Extents<2>{2, 6});
  CHECK(rows(0, 0) == 6);
  CHECK(rows.is_dense());
  const auto columns = view.columns(2, 3);
  CHECK(columns.extents() == Extents<2>{4, 3});
  CHECK(columns(3, 2) == 22);
  CHECK_FALSE(columns.is_dense());
  CHECK(columns.rows(2, 1).is_dense());
  CHECK(columns.columns(0, 1).stride(0) == 6);
}

TEST_CASE("tensor view: slices that leave the view are refused, empty ones at the end are not") {
  std::vector<int> data = counting(12);
  const TensorView<int, 2> view(data.data(), {3, 4});
  CHECK(view.rows(3, 0).empty());
  CHECK_THROWS_AS(view.rows(3, 1), ShapeError);
  CHECK_THROWS_AS(view.rows(-1, 1), ShapeError);
  CHECK_THROWS_AS(view.rows(0, -1), ShapeError);
  CHECK_THROWS_WITH(view.columns(2, 3), "tensor_view: slice of 3 from 2 of axis 1 with extent 4");
  CHECK_THROWS_AS(view.rows(std::numeric_limits<std::int64_t>::max(), 1), ShapeError);
}

TEST_CASE("tensor view: fixing the first axis and reshaping") {
  std::vector<int> data = counting(24);
  const TensorView<int, 3> view(data.data(), {2, 3, 4});
  CHECK(view[1](2, 3) == 23);
  CHECK(view[1].extents() == Extents<2>{3, 4});
  const auto flat = view.reshape(Extents<2>{6, 4});
  CHECK(flat(5, 3) == 23);
  CHECK_THROWS_WITH(view.reshape(Extents<1>{23}), "tensor_view: reshape of 24 elements to 23");
  CHECK_THROWS_AS(view.slice(2, 0, 3).reshape(Extents<1>{18}), ShapeError);
}

TEST_CASE("tensor view: foreign strides, also transposed and repeated") {
  std::vector<int> data = counting(6);
  const TensorView<int, 2> transposed(data.data(), {3, 2}, {1, 3});
  CHECK(transposed(2, 1) == 5);
  CHECK_FALSE(transposed.is_dense());
  const TensorView<int, 2> repeated(data.data(), {5, 6}, {0, 1});
  CHECK(repeated(4, 5) == 5);
  CHECK_FALSE(repeated.is_dense());
}

TEST_CASE("tensor view: gaps of axes with one element do not matter for density") {
  const TensorView<int, 2> row(nullptr, {1, 5}, {100, 1});
  CHECK(row.is_dense());
  const TensorView<int, 2> column(nullptr, {5, 1}, {1, 77});
  CHECK(column.is_dense());
}

TEST_CASE("tensor view: addresses beyond 2^32 elements are exact") {
  const auto base = std::uintptr_t{1} << 44;
  const TensorView<std::uint8_t, 2> view(reinterpret_cast<std::uint8_t*>(base), {1LL << 21, 1LL << 14});
  const auto address = [](const auto& part) { return reinterpret_cast<std::uintptr_t>(part.data()); };
  CHECK(address(view.rows((1LL << 21) - 1, 1)) == base + (((std::uintptr_t{1} << 21) - 1) << 14));
  CHECK(address(view.rows(1LL << 20, 1).columns(5, 1)) == base + (std::uintptr_t{1} << 34) + 5);
  CHECK(view.size() == 1LL << 35);
}

TEST_CASE("tensor view: a slice of a view without memory stays without") {
  const TensorView<float, 2> shape_only(nullptr, {10, 4});
  CHECK(shape_only.rows(5, 5).data() == nullptr);
  CHECK(shape_only.rows(5, 5).extent(0) == 5);
}
