// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/stores/recomputed_row_store.hpp"

#include <cstdint>
#include <stdexcept>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;

/// Row n, column c is 100 n + c; counts its calls.
struct Numbering {
  int* calls;
  void operator()(Cpu&, const RowTile& tile, TensorView<float, 2> rows) const {
    ++*calls;
    for (std::int64_t i = 0; i < rows.extent(0); ++i) {
      for (std::int64_t j = 0; j < rows.extent(1); ++j) {
        rows(i, j) = static_cast<float>(100 * (tile.begin + i) + tile.column_begin + j);
      }
    }
  }
};
using Store = RecomputedRowStore<float, Numbering>;
static_assert(RowStore<Store, Cpu> && !WritableRowStore<Store, Cpu>);

struct Fixture {
  int calls = 0;
  Cpu backend;
  HostResource resource;
  Arena arena{resource, Store::workspace_bytes(4, 7)};
  Store store{10, 7, arena, 4, Numbering{&calls}};
};

TEST_CASE("a recomputed store makes the rows of a tile when they are asked for") {
  Fixture f;
  CHECK(f.arena.used_bytes() == f.arena.capacity_bytes());
  CHECK(f.store.rows() == 10);
  CHECK(f.store.width() == 7);
  CHECK(f.calls == 0);
  const auto tile = f.store.load(f.backend, 4, 3);
  CHECK(tile.extents() == Extents<2>{3, 7});
  CHECK(tile(2, 6) == 606.0F);
  CHECK(f.calls == 1);
}

TEST_CASE("a recomputed tile is kept until another is asked for") {
  Fixture f;
  f.store.load(f.backend, 0, 4);
  f.store.prefetch(f.backend, 4, 4);
  f.store.load(f.backend, 0, 4);
  CHECK(f.calls == 1);
  CHECK(f.store.load(f.backend, 0, 3)(2, 0) == 200.0F);
  CHECK(f.calls == 2);
  f.store.load(f.backend, 0, 4);
  CHECK(f.calls == 3);
}

TEST_CASE("columns of a recomputed store are made alone") {
  Fixture f;
  f.store.load(f.backend, 2, 2);
  auto group = f.store.columns(3, 2);
  CHECK(group.width() == 2);
  const auto tile = group.load(f.backend, 2, 2);
  CHECK(tile.extents() == Extents<2>{2, 2});
  CHECK(tile(1, 1) == 304.0F);
  CHECK(group.columns(1, 1).load(f.backend, 9, 1)(0, 0) == 904.0F);
}

TEST_CASE("a recomputed store refuses tiles that are too long or outside") {
  Fixture f;
  CHECK_THROWS_AS(f.store.load(f.backend, 0, 5), ShapeError);
  CHECK_THROWS_AS(f.store.load(f.backend, 8, 3), ShapeError);
  CHECK_THROWS_AS(f.store.columns(6, 2), ShapeError);
}

TEST_CASE("a recipe that throws leaves no half-made tile behind") {
  Cpu backend;
  HostResource resource;
  bool fails = false;
  const auto recipe = [&fails](Cpu&, const RowTile&, TensorView<float, 2> rows) {
    rows(0, 0) = fails ? -1.0F : 1.0F;
    if (fails) throw std::runtime_error("recipe");
  };
  using Throwing = RecomputedRowStore<float, decltype(recipe)>;
  Arena arena(resource, Throwing::workspace_bytes(1, 1));
  Throwing store(2, 1, arena, 1, recipe);
  store.load(backend, 0, 1);
  fails = true;
  CHECK_THROWS(store.load(backend, 1, 1));
  fails = false;
  CHECK(store.load(backend, 0, 1)(0, 0) == 1.0F);
}

}  // namespace
}  // namespace ltxmem
