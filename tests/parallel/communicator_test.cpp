// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/parallel/communicator.hpp"

#include <array>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
static_assert(Communicator<SingleRank, Cpu>);

struct NoDeadline : SingleRank {
  void deadline() const;
};
static_assert(!Communicator<NoDeadline, Cpu>);
static_assert(!Communicator<int, Cpu>);

struct Fixture {
  Cpu backend;
  SingleRank ranks;
  Arena arena = Arena::make_virtual();
  std::vector<float> sent = test::random_values<float>(12, 1);
  std::vector<float> received = std::vector<float>(12, 0.0F);
  std::array<std::int64_t, 1> counts{3};
  TensorView<const float, 2> from{sent.data(), {3, 4}};
  TensorView<float, 2> into{received.data(), {3, 4}};
};

TEST_CASE("a single rank is rank zero of one") {
  const SingleRank ranks;
  CHECK(ranks.rank() == 0);
  CHECK(ranks.size() == 1);
  CHECK(ranks.deadline().count() > 0);
}

TEST_CASE("a single rank exchanges with itself") {
  Fixture f;
  SingleRank::Handle handle = f.ranks.exchange(f.backend, 0, f.from, 0, f.into);
  f.ranks.wait(f.backend, handle);
  CHECK(f.received == f.sent);
}

TEST_CASE("gathering, scattering and exchanging all with a single rank keeps the rows") {
  Fixture f;
  f.ranks.all_gather(f.backend, f.from, f.counts, f.into);
  CHECK(f.received == f.sent);
  f.received.assign(12, 0.0F);
  f.ranks.reduce_scatter(f.backend, Reduction::sum, f.from, f.counts, f.into, f.arena);
  CHECK(f.received == f.sent);
  f.received.assign(12, 0.0F);
  f.ranks.all_to_all(f.backend, f.from, f.counts, f.into, f.counts);
  CHECK(f.received == f.sent);
}

TEST_CASE("reducing and broadcasting with a single rank changes nothing") {
  Fixture f;
  f.received = f.sent;
  f.ranks.all_reduce(f.backend, Reduction::maximum, f.into, f.arena);
  f.ranks.broadcast(f.backend, 0, f.into);
  f.ranks.barrier(f.backend);
  CHECK(f.received == f.sent);
}

TEST_CASE("rows that are already in place are left there") {
  Fixture f;
  f.ranks.all_gather(f.backend, TensorView<const float, 2>(f.into), f.counts, f.into);
  CHECK(f.received == std::vector<float>(12, 0.0F));
}

TEST_CASE("a single rank refuses other ranks and counts that do not fit") {
  Fixture f;
  CHECK_THROWS_AS(f.ranks.exchange(f.backend, 1, f.from, 0, f.into), ShapeError);
  CHECK_THROWS_AS(f.ranks.exchange(f.backend, 0, f.from, -1, f.into), ShapeError);
  CHECK_THROWS_AS(f.ranks.broadcast(f.backend, 1, f.into), ShapeError);
  f.counts[0] = 2;
  CHECK_THROWS_AS(f.ranks.all_gather(f.backend, f.from, f.counts, f.into), ShapeError);
  const std::array<std::int64_t, 2> two{1, 2};
  CHECK_THROWS_AS(f.ranks.all_to_all(f.backend, f.from, two, f.into, two), ShapeError);
  CHECK_THROWS_AS(f.ranks.exchange(f.backend, 0, f.from, 0, f.into.rows(0, 2)), ShapeError);
}

}  // namespace
}  // namespace ltxmem
