// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/stores/row_store.hpp"

#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;

struct StoreOfIntegers {
  using value_type = int;
  std::int64_t rows() const;
  std::int64_t width() const;
  TensorView<const int, 2> load(Cpu&, std::int64_t, std::int64_t);
  void prefetch(Cpu&, std::int64_t, std::int64_t);
  StoreOfIntegers columns(std::int64_t, std::int64_t);
};

static_assert(RowStore<ResidentRowStore<half>, Cpu> && WritableRowStore<ResidentRowStore<half>, Cpu>);
static_assert(RowStoreOf<BorrowedRowStore<float>, Cpu, float> && !RowStoreOf<BorrowedRowStore<float>, Cpu, half>);
static_assert(!RowStore<StoreOfIntegers, Cpu>);
static_assert(!RowStore<std::vector<float>, Cpu>);

TEST_CASE("a resident store gives views of its tensor") {
  Cpu backend;
  std::vector<float> memory = test::random_values<float>(60, 1);
  ResidentRowStore<float> store(TensorView<float, 2>(memory.data(), {10, 6}));
  CHECK(store.rows() == 10);
  CHECK(store.width() == 6);
  store.prefetch(backend, 4, 3);
  const auto tile = store.load(backend, 4, 3);
  CHECK(tile.data() == memory.data() + 24);
  CHECK(tile.extents() == Extents<2>{3, 6});
}

TEST_CASE("what is written to a resident store is read from it") {
  Cpu backend;
  std::vector<float> memory(60, 0.0F);
  ResidentRowStore<float> store(TensorView<float, 2>(memory.data(), {10, 6}));
  const auto staged = store.stage(backend, 2, 2);
  staged(1, 5) = 3.0F;
  store.store(backend, 2, 2);
  CHECK(store.load(backend, 3, 1)(0, 5) == 3.0F);
}

TEST_CASE("columns of a resident store are a store of a group of heads") {
  Cpu backend;
  std::vector<float> memory = test::random_values<float>(60, 1);
  const TensorView<float, 2> rows(memory.data(), {10, 6});
  ResidentRowStore<float> store(rows);
  const auto group = store.columns(2, 3);
  CHECK(group.width() == 3);
  CHECK(group.load(backend, 7, 2)(1, 2) == rows(8, 4));
  BorrowedRowStore<float> borrowed(rows);
  CHECK(borrowed.columns(2, 3).load(backend, 7, 2)(1, 2) == rows(8, 4));
}

TEST_CASE("a resident store refuses rows and columns that it does not have") {
  Cpu backend;
  std::vector<float> memory(60);
  ResidentRowStore<float> store(TensorView<float, 2>(memory.data(), {10, 6}));
  CHECK_THROWS_AS(store.load(backend, 8, 3), ShapeError);
  CHECK_THROWS_AS(store.stage(backend, -1, 3), ShapeError);
  CHECK_THROWS_AS(store.columns(4, 3), ShapeError);
}

}  // namespace
}  // namespace ltxmem
