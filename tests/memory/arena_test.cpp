// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/memory/arena.hpp"

#include <cstdint>
#include <string>
#include <utility>

#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

TEST_CASE("arena: buffers start aligned and occupy whole units") {
  HostResource host;
  Arena arena(host, 4096);
  const auto a = arena.take<float>("a", Extents<1>{1});
  const auto b = arena.take<char>("b", Extents<1>{257});
  CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % buffer_alignment == 0);
  CHECK(reinterpret_cast<char*>(b.data()) - reinterpret_cast<char*>(a.data()) == 256);
  CHECK(arena.used_bytes() == 256 + 512);
  CHECK(arena.peak_bytes() == 768);
  CHECK(arena.capacity_bytes() == 4096);
}

TEST_CASE("arena: zero elements take no room") {
  HostResource host;
  Arena arena(host, 0);
  CHECK(arena.take<float>("nothing", Extents<2>{0, 5}).empty());
  CHECK(arena.used_bytes() == 0);
}

TEST_CASE("arena: scopes give back in stack order, the peak stays") {
  HostResource host;
  Arena arena(host, 4096);
  arena.take<char>("outer", Extents<1>{256});
  void* first = nullptr;
  {
    const auto scope = arena.scope();
    first = arena.take_bytes("inner", 1024);
    {
      const auto deeper = arena.scope();
      arena.take_bytes("deepest", 512);
      CHECK(arena.used_bytes() == 1792);
    }
    CHECK(arena.used_bytes() == 1280);
  }
  CHECK(arena.used_bytes() == 256);
  CHECK(arena.peak_bytes() == 1792);
  CHECK(arena.take_bytes("again", 1) == first);
}

TEST_CASE("arena: a peak that is reset is what is in use") {
  HostResource host;
  Arena arena(host, 8192);
  arena.take_bytes("x", 300);
  {
    const auto scope = arena.scope();
    arena.take_bytes("hidden", 2000);
  }
  arena.take_bytes("y", 100);
  CHECK(arena.peak_bytes() == 2560);
  arena.reset_peak();
  CHECK(arena.peak_bytes() == 768);
}

TEST_CASE("arena: the request that does not fit is refused with its numbers, and leaves the arena as it was") {
  HostResource host;
  Arena arena(host, 1000);  // not a multiple of the alignment: the last 232 bytes serve nobody
  arena.take_bytes("a", 256);
  try {
    arena.take_bytes("b", 600);
    FAIL("served");
  } catch (const OutOfMemory& error) {
    CHECK(error.requested_bytes() == 600);
    CHECK(error.in_use_bytes() == 256);
    CHECK(error.limit_bytes() == 1000);
    CHECK(std::string(error.what()).find("buffer b") != std::string::npos);
  }
  CHECK(arena.used_bytes() == 256);
  CHECK_NOTHROW(arena.take_bytes("c", 512));
  CHECK_THROWS_AS(arena.take_bytes("d", 1), OutOfMemory);
  CHECK_THROWS_AS(arena.take_bytes("huge", static_cast<std::size_t>(-1)), OutOfMemory);
}

TEST_CASE("arena: takes its block once and gives it back once, also after a move") {
  HostResource host;
  CountingResource counting(host);
  {
    Arena arena(counting, 10000);
    CHECK(counting.current_bytes() == 10000);
    arena.take_bytes("a", 100);
    const Arena moved(std::move(arena));
    CHECK(moved.used_bytes() == 256);
    CHECK(moved.capacity_bytes() == 10000);
    CHECK(counting.current_bytes() == 10000);
  }
  CHECK(counting.current_bytes() == 0);
  CHECK(counting.total_bytes() == 10000);
}

TEST_CASE("arena: borrowed memory is used in place and must be aligned") {
  alignas(buffer_alignment) std::byte block[1024];
  Arena arena(block, sizeof block);
  CHECK(arena.take_bytes("a", 10) == block);
  CHECK_THROWS_AS(Arena(block + 1, 512), ShapeError);
}

TEST_CASE("arena: a virtual one hands out terabytes and counts them") {
  Arena arena = Arena::make_virtual();
  {
    const auto scope = arena.scope();
    arena.take<float>("x", Extents<2>{230520, 4096});
    const auto big = arena.take<float>("big", Extents<3>{1 << 20, 1 << 10, 1 << 10});
    CHECK(reinterpret_cast<std::uintptr_t>(big.data()) % buffer_alignment == 0);
  }
  CHECK(arena.used_bytes() == 0);
  CHECK(arena.peak_bytes() == std::size_t{230520} * 4096 * 4 + (std::size_t{4} << 40));
}
