// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/stores/host_row_store.hpp"

#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/stores/placed_row_store.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using Store = HostRowStore<float, Cpu>;

static_assert(WritableRowStore<Store, Cpu>);
static_assert(WritableRowStore<HostRowStore<bfloat16, DryRunBackend<Cpu::Target>>, DryRunBackend<Cpu::Target>>);

constexpr std::int64_t rows = 23;
constexpr std::int64_t width = 5;

struct Fixture {
  Cpu backend;
  std::vector<float> memory = test::random_values<float>(rows * width, 3);
  std::vector<float> original = memory;
  HostResource resource;

  TensorView<float, 2> view() { return {memory.data(), {rows, width}}; }
  bool holds(TensorView<const float, 2> tile, std::int64_t begin, std::int64_t first_column = 0) const {
    for (std::int64_t i = 0; i < tile.extent(0); ++i) {
      for (std::int64_t j = 0; j < tile.extent(1); ++j) {
        if (tile(i, j) != original[static_cast<std::size_t>((begin + i) * width + first_column + j)]) return false;
      }
    }
    return true;
  }
};

TEST_CASE("a host store brings every tile, with and without prefetch") {
  for (const bool ahead : {false, true}) {
    Fixture f;
    Arena arena(f.resource, Store::workspace_bytes(4, width));
    Store store(f.backend, f.view(), arena, 4);
    CHECK(arena.used_bytes() == arena.capacity_bytes());
    for_each_tile(f.backend, rows, 4, [&](std::int64_t begin, std::int64_t count) {
      const auto tile = store.load(f.backend, begin, count);
      const std::int64_t next = begin + count;
      if (ahead && next < rows) store.prefetch(f.backend, next, std::min<std::int64_t>(4, rows - next));
      CHECK(tile.data() != f.memory.data() + begin * width);
      CHECK(f.holds(tile, begin));
    });
  }
}

TEST_CASE("a prefetch leaves the tile in use alone") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(8, width));
  Store store(f.backend, f.view(), arena, 8);
  const auto used = store.load(f.backend, 0, 8);
  for (int i = 0; i < 20; ++i) {
    store.prefetch(f.backend, 8 + i % 3, 8);
    store.finish();
    CHECK(f.holds(used, 0));
  }
}

TEST_CASE("a tile that is in a slot is not brought again") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(8, width));
  Store store(f.backend, f.view(), arena, 8);
  store.load(f.backend, 0, 8);
  store.load(f.backend, 8, 8);
  f.memory.assign(f.memory.size(), 0.0F);
  CHECK(f.holds(store.load(f.backend, 0, 8), 0));
  CHECK(f.holds(store.load(f.backend, 8, 8), 8));
  CHECK(store.load(f.backend, 0, 7)(0, 0) == 0.0F);
}

TEST_CASE("staged tiles arrive in host memory, in pieces and in order") {
  Fixture f;
  f.memory.assign(f.memory.size(), -1.0F);
  Arena arena(f.resource, Store::workspace_bytes(6, width));
  Store store(f.backend, f.view(), arena, 6);
  for_each_tile(f.backend, rows, 6, [&](std::int64_t begin, std::int64_t count) {
    const auto tile = store.stage(f.backend, begin, count);
    for (std::int64_t i = 0; i < count * width; ++i) {
      tile.data()[i] = f.original[static_cast<std::size_t>(begin * width + i)];
    }
    store.store(f.backend, begin, count);
  });
  store.finish();
  CHECK(f.memory == f.original);
}

TEST_CASE("the destructor waits for rows on their way out") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(rows, width));
  {
    Store store(f.backend, f.view(), arena, rows);
    const auto tile = store.stage(f.backend, 0, rows);
    for (std::int64_t i = 0; i < rows * width; ++i) tile.data()[i] = 2.0F;
    store.store(f.backend, 0, rows);
  }
  for (const float value : f.memory) CHECK(value == 2.0F);
}

TEST_CASE("rows can be read, changed in place and written back while the next tile arrives") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(4, width));
  Store store(f.backend, f.view(), arena, 4);
  for (int pass = 0; pass < 3; ++pass) {
    for_each_tile(f.backend, rows, 4, [&](std::int64_t begin, std::int64_t count) {
      const auto before = store.load(f.backend, begin, count);
      const std::int64_t next = (begin + count) % rows;
      store.prefetch(f.backend, next, std::min<std::int64_t>(4, rows - next));
      const auto after = store.stage(f.backend, begin, count);
      CHECK(after.data() == before.data());
      for (std::int64_t i = 0; i < count * width; ++i) after.data()[i] += 1.0F;
      store.store(f.backend, begin, count);
    });
  }
  store.finish();
  for (std::size_t i = 0; i < f.memory.size(); ++i) CHECK(f.memory[i] == f.original[i] + 1.0F + 1.0F + 1.0F);
}

TEST_CASE("a load sees rows stored under another tiling") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(10, width));
  Store store(f.backend, f.view(), arena, 10);
  store.load(f.backend, 0, 10);
  const auto staged = store.stage(f.backend, 4, 2);
  for (std::int64_t i = 0; i < 2 * width; ++i) staged.data()[i] = 9.0F;
  store.store(f.backend, 4, 2);
  const auto tile = store.load(f.backend, 0, 10);
  CHECK(tile(4, 0) == 9.0F);
  CHECK(tile(5, width - 1) == 9.0F);
  CHECK(tile(6, 0) == f.original[6 * width]);
}

TEST_CASE("columns of a host store bring a group of heads through the same slots") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(8, width));
  Store store(f.backend, f.view(), arena, 8);
  store.load(f.backend, 0, 8);
  {
    auto group = store.columns(1, 3);
    CHECK(group.width() == 3);
    for (const std::int64_t begin : {0, 8}) {
      const auto tile = group.load(f.backend, begin, 8);
      CHECK(tile.is_dense());
      CHECK(f.holds(tile, begin, 1));
    }
    const auto staged = group.stage(f.backend, 2, 1);
    for (std::int64_t j = 0; j < 3; ++j) staged(0, j) = 5.0F;
    group.store(f.backend, 2, 1);
  }
  const auto row = store.load(f.backend, 2, 1);
  CHECK(row(0, 0) == f.original[2 * width]);
  CHECK(row(0, 1) == 5.0F);
  CHECK(row(0, 4) == f.original[2 * width + 4]);
  CHECK(arena.peak_bytes() == Store::workspace_bytes(8, width));
}

TEST_CASE("a host store refuses tiles that are too long or outside, and rows that were not staged") {
  Fixture f;
  Arena arena(f.resource, Store::workspace_bytes(8, width));
  Store store(f.backend, f.view(), arena, 8);
  CHECK_THROWS_AS(store.load(f.backend, 0, 9), ShapeError);
  CHECK_THROWS_AS(store.prefetch(f.backend, 20, 4), ShapeError);
  CHECK_THROWS_AS(store.stage(f.backend, -1, 4), ShapeError);
  CHECK_THROWS_AS(store.store(f.backend, 0, 4), ShapeError);
  CHECK_THROWS_AS(store.columns(3, 3), ShapeError);
}

/// Stores of the given weights, with room for `values` elements each.
std::vector<StoreArena> stores_of(HostResource& resource, const std::vector<double>& weights, std::int64_t values) {
  std::vector<StoreArena> stores;
  for (const double weight : weights) {
    stores.push_back({Arena(resource, aligned_bytes(byte_count<float>(Extents<1>{values}))), weight});
  }
  return stores;
}

TEST_CASE("rows spread over stores come and go in tiles that cross from one to the next") {
  for (const std::vector<double>& weights :
       {std::vector<double>{1}, std::vector<double>{1, 1}, std::vector<double>{5, 0, 1, 3}}) {
    Fixture f;
    std::vector<StoreArena> stores = stores_of(f.resource, weights, rows * width);
    Arena arena(f.resource, Store::workspace_bytes(4, width));
    Store store(f.backend, SpreadRows<float>("rows", {rows, width}, stores), arena, 4);
    CHECK(store.rows() == rows);
    CHECK(store.width() == width);
    for (int pass = 0; pass < 2; ++pass) {  // in the second each row is changed where it lies
      for_each_tile(f.backend, rows, 4, [&](std::int64_t begin, std::int64_t count) {
        if (pass == 1) store.load(f.backend, begin, count);
        const auto tile = store.stage(f.backend, begin, count);
        for (std::int64_t i = 0; i < count * width; ++i) {
          const float value = f.original[static_cast<std::size_t>(begin * width + i)];
          tile.data()[i] = pass == 0 ? value - 1.0F : tile.data()[i] + 1.0F;
        }
        store.store(f.backend, begin, count);
        prefetch_tile(f.backend, store, begin + count, 4);
      });
    }
    for (const std::int64_t tile : {1, 3, 4}) {  // of another cut
      for_each_tile(f.backend, rows, tile, [&](std::int64_t begin, std::int64_t count) {
        const auto loaded = store.load(f.backend, begin, count);
        for (std::int64_t i = 0; i < count * width; ++i) {
          CHECK(loaded.data()[i] == f.original[static_cast<std::size_t>(begin * width + i)] - 1.0F + 1.0F);
        }
      });
    }
    auto group = store.columns(2, 2);
    const auto tile = group.load(f.backend, rows - 4, 4);
    for (std::int64_t i = 0; i < 4; ++i) {
      const float value = f.original[static_cast<std::size_t>((rows - 4 + i) * width + 2)];
      CHECK(tile(i, 0) == value - 1.0F + 1.0F);
    }
  }
}

TEST_CASE("each store takes its share of the rows, in proportion to its weight") {
  HostResource resource;
  std::vector<StoreArena> stores = stores_of(resource, {3e9, 0, 1e9}, 1000 * 64);
  {
    const auto scope = stores[0].arena.scope();
    const auto other_scope = stores[2].arena.scope();
    const SpreadRows<float> spread("rows", {1000, 64}, stores);
    CHECK(stores[0].arena.used_bytes() == 750 * 64 * 4);
    CHECK(stores[1].arena.used_bytes() == 0);
    CHECK(stores[2].arena.used_bytes() == 250 * 64 * 4);
    std::vector<std::int64_t> parts;
    const auto note = [&](std::int64_t offset, TensorView<float, 2> part) {
      parts.insert(parts.end(), {offset, part.extent(0)});
    };
    spread.for_each_part(749, 2, note);
    spread.for_each_part(0, 750, note);
    spread.for_each_part(750, 250, note);
    CHECK(parts == std::vector<std::int64_t>{0, 1, 1, 1, 0, 750, 0, 250});
    CHECK_THROWS_AS(spread.for_each_part(999, 2, note), ShapeError);
    CHECK_THROWS_AS(spread.columns(60, 5), ShapeError);
  }
  CHECK(stores[0].arena.used_bytes() == 0);
  stores[0].weight = stores[2].weight = 0;
  CHECK_THROWS_AS(SpreadRows<float>("rows", Extents<2>{10, 4}, stores), ShapeError);
}

TEST_CASE("a workspace with stores keeps placed rows there, and gives them back") {
  Fixture f;
  const auto placed = [&](bool has_stores) {
    Workspace workspace = Workspace::make_virtual();
    if (has_stores) {
      for (const double weight : {1.0, 2.0}) workspace.stores.push_back({Arena::make_virtual(), weight});
    }
    DryRunBackend<Cpu::Target> dry(f.backend.target());
    {
      const auto scope = workspace.off_device_scope();
      const PlacedRowStore<float, DryRunBackend<Cpu::Target>> store(dry, "rows", {300, 64}, 16, MemorySpace::pinned,
                                                                    workspace);
    }
    CHECK(workspace.pinned.used_bytes() == 0);
    for (const StoreArena& store : workspace.stores) CHECK(store.arena.used_bytes() == 0);
    return workspace;
  };
  const Workspace pinned = placed(false);
  CHECK(pinned.pinned.peak_bytes() == 300 * 64 * 4);
  const Workspace stored = placed(true);
  CHECK(stored.pinned.peak_bytes() == 0);
  CHECK(stored.device.peak_bytes() == pinned.device.peak_bytes());
  CHECK(stored.stores[0].arena.peak_bytes() == 100 * 64 * 4);
  CHECK(stored.stores[1].arena.peak_bytes() == 200 * 64 * 4);
}

TEST_CASE("in a dry run rows of stores take the link to other devices, in one transfer a tile") {
  using Dry = DryRunBackend<Cpu::Target>;
  Dry dry;
  Arena arena = Arena::make_virtual();
  std::vector<StoreArena> stores;
  for (const double weight : {1.0, 1.0}) stores.push_back({Arena::make_virtual(), weight});
  HostRowStore<float, Dry> store(dry, SpreadRows<float>("rows", {rows, width}, stores), arena, 4);
  store.load(dry, 10, 4);  // of both
  store.stage(dry, 10, 4);
  store.store(dry, 10, 4);
  const auto& entries = dry.record().entries();
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].queue == WorkQueue::peer_in);
  CHECK(entries[1].queue == WorkQueue::peer_out);
  CHECK(entries[0].bytes == 4 * width * 4);
  CHECK(entries[1].bytes == 4 * width * 4);
}

TEST_CASE("a dry run of a host store takes the same bytes and records the transfers") {
  using Dry = DryRunBackend<Cpu::Target>;
  Dry dry;
  Arena arena = Arena::make_virtual();
  Arena host = Arena::make_virtual();
  const auto memory = host.take<float, 2>("rows", {rows, width});
  HostRowStore<float, Dry> store(dry, memory, arena, 4);
  store.load(dry, 0, 4);
  store.prefetch(dry, 4, 4);
  store.load(dry, 4, 4);
  CHECK(arena.peak_bytes() == Store::workspace_bytes(4, width));
}

}  // namespace
}  // namespace ltxmem
