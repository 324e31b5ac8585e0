// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/weights/weight_block.hpp"

#include <cstddef>
#include <span>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

std::vector<std::byte> numbered(std::size_t count, unsigned first) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>((first + i) & 0xFFU);
  return bytes;
}

TEST_CASE("pieces of a block start at multiples of their alignment") {
  const std::vector<std::byte> memory = numbered(1000, 0);
  const auto piece = [&](std::size_t bytes, std::size_t alignment) {
    return memory_piece(std::span(memory).first(bytes), alignment);
  };
  const WeightBlock block({piece(3, 256), piece(5, 4), piece(0, 8), piece(1, 256), piece(7, 1)});
  CHECK(block.offset(0) == 0);
  CHECK(block.offset(1) == 4);
  CHECK(block.offset(2) == 16);
  CHECK(block.offset(3) == 256);
  CHECK(block.offset(4) == 257);
  CHECK(block.bytes() == 264);
  CHECK(WeightBlock({}).bytes() == 0);
}

TEST_CASE("a block read in parts of any size is the block read at once") {
  const std::vector<std::byte> a = numbered(100, 1);
  const std::vector<std::byte> b = numbered(300, 77);
  const std::vector<std::byte> c = numbered(1, 200);
  const WeightBlock block({memory_piece(a, 64), memory_piece(b, 128), memory_piece(c)});
  std::vector<std::byte> expected(block.bytes(), std::byte{9});
  std::copy(a.begin(), a.end(), expected.begin());
  std::copy(b.begin(), b.end(), expected.begin() + 128);
  std::copy(c.begin(), c.end(), expected.begin() + 512);
  for (const std::size_t part : {1U, 7U, 64U, 100U, 128U, 129U, 1000U}) {
    std::vector<std::byte> got(block.bytes(), std::byte{9});
    for (std::size_t begin = 0; begin < got.size(); begin += part) {
      block.read(begin, std::span(got).subspan(begin, std::min(part, got.size() - begin)));
    }
    CHECK(got == expected);
  }
}

TEST_CASE("an alignment that no slot can keep is refused") {
  for (const std::size_t alignment : {0U, 3U, 512U}) {
    CHECK_THROWS_AS(WeightBlock({WeightPiece{8, alignment, {}}}), ShapeError);
  }
}

TEST_CASE("a page cache that holds every block is filled once") {
  const std::vector<std::size_t> blocks{10, 20, 30};
  const PageCachePlan plan = plan_page_cache(blocks, 60);
  CHECK(plan.cached_blocks == 3);
  CHECK(plan.first_pass_bytes == 60);
  CHECK(plan.bytes_per_later_pass == 0);
  CHECK(plan.disk_bytes(8) == 60);
}

TEST_CASE("one byte less for the page cache brings the last block from the disk in every pass") {
  const std::vector<std::size_t> blocks{10, 20, 30};
  const PageCachePlan plan = plan_page_cache(blocks, 59);
  CHECK(plan.cached_blocks == 2);
  CHECK(plan.bytes_per_later_pass == 30);
  CHECK(plan.disk_bytes(1) == 60);
  CHECK(plan.disk_bytes(8) == 60 + 7 * 30);
  CHECK(plan.disk_bytes(0) == 0);
}

TEST_CASE("the page cache keeps whole blocks from the first one on") {
  const std::vector<std::size_t> blocks{20, 50, 5};
  const PageCachePlan plan = plan_page_cache(blocks, 45);
  CHECK(plan.cached_blocks == 1);
  CHECK(plan.bytes_per_later_pass == 55);
  CHECK(plan_page_cache(blocks, 0).bytes_per_later_pass == 75);
}

TEST_CASE("forty-eight blocks on a host of 32 GB come mostly from the cache") {
  // One bf16 block of the released transformer; 25 GB are left for the page cache.
  const std::vector<std::size_t> blocks(48, 773'000'000);
  const PageCachePlan plan = plan_page_cache(blocks, 25'000'000'000);
  CHECK(plan.cached_blocks == 32);
  CHECK(plan.bytes_per_later_pass == std::size_t{16} * 773'000'000);
}

}  // namespace
}  // namespace ltxmem
