// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/parallel/rank_group.hpp"

#include <string>
#include <vector>

#include "ltxmem/parallel/thread_communicator.hpp"
#include "parallel/communicator_suite.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using Group = RankGroup<ThreadTransport>;

TEST_CASE("rows and columns of a grid of ranks conform, both at work", "[parallel]") {
  ThreadGroup group(6);
  run_on_threads(group, [&](int rank) {
    ThreadCommunicator world(group, rank);
    const RankGrid grid(rank, 6, 3);
    Group row(world, grid.row);
    Group column(world, grid.column);
    for (const auto& conformance : test::conformance_cases<float, Group>()) {
      conformance.run(row);
      conformance.run(column);
    }
  });
}

TEST_CASE("a grid has rows of neighbours and columns of equals", "[parallel]") {
  const RankGrid grid(4, 6, 3);
  CHECK(grid.row == std::vector<int>{3, 4, 5});
  CHECK(grid.column == std::vector<int>{1, 4});
  CHECK_THROWS_AS(RankGrid(0, 6, 4), ShapeError);
}

TEST_CASE("a group numbers its members in the order of the list", "[parallel]") {
  ThreadGroup group(3);
  ThreadCommunicator world(group, 2);
  const Group some(world, {2, 0});
  CHECK(some.rank() == 0);
  CHECK(some.size() == 2);
  CHECK_THROWS_AS(Group(world, {0, 1}), ShapeError);
  CHECK_THROWS_AS(Group(world, {2, 3}), ShapeError);
}

TEST_CASE("errors of a group name the ranks of the world", "[parallel]") {
  ThreadGroup group(4, {.deadline = std::chrono::milliseconds(20)});
  std::string text;
  try {
    run_on_threads(group, [&](int rank) {
      CpuBackend<> backend;
      ThreadCommunicator world(group, rank);
      Group odd(world, {rank % 2, rank % 2 + 2});
      if (rank == 1) odd.barrier(backend);
    });
  } catch (const RankError& error) {
    CHECK(error.rank() == 3);
    text = error.what();
  }
  CHECK(text == "rank 1: barrier with rank 3: rank 3 did not come within 20 ms");
}

}  // namespace
}  // namespace ltxmem
