// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// One rank of a test under mpirun: runs the case that is named, and ends with 0 when it holds on this rank.

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/attention/ulysses_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/parallel/mpi_communicator.hpp"
#include "ltxmem/parallel/rank_group.hpp"
#include "parallel/communicator_suite.hpp"
#include "support/numbers.hpp"

namespace ltxmem {
namespace {

using namespace std::chrono_literals;
using test::must;
using test::reduce;
using Cpu = CpuBackend<>;
static_assert(Communicator<MpiCommunicator, Cpu>);

void conforms() {
  MpiCommunicator ranks(MPI_COMM_WORLD);
  test::conform<float>(ranks);
  test::conform<bfloat16>(ranks);
  RankGroup<MpiTransport> group(ranks, RankGrid(ranks.rank(), ranks.size(), ranks.size()).row);
  test::conform<half>(group);

  // Long messages leave the short path of MPI.
  Cpu backend;
  const int next = (ranks.rank() + 1) % ranks.size();
  const int before = (ranks.rank() + ranks.size() - 1) % ranks.size();
  const auto mine = test::rows_of_rank<float>(ranks.rank(), 4096, 512);
  test::Rows<float> theirs(4096, 512);
  auto handle = ranks.exchange(backend, next, mine.constant(), before, theirs.view());
  ranks.wait(backend, handle);
  must(test::same_bits(theirs.values, test::rows_of_rank<float>(before, 4096, 512).values), "a long message");
}

/// A ring, and attention by heads, against tiled attention of the whole in this process.
void attention() {
  constexpr std::int64_t tokens = 301, heads = 3, head_dim = 16, width = heads * head_dim;
  MpiCommunicator ranks(MPI_COMM_WORLD);
  Cpu backend;
  HostResource host;
  Arena arena(host, 1 << 24);
  const auto q = test::random_values<float>(tokens * width, 1);
  const auto k = test::random_values<float>(tokens * width, 2);
  const auto v = test::random_values<float>(tokens * width, 3);
  const auto whole = [&](const std::vector<float>& values) {
    return TensorView<const float, 2>(values.data(), {tokens, width});
  };
  const TiledAttentionOptions options{.heads = heads};
  test::Rows<float> expected(tokens, width);
  const TiledAttention<float, Cpu> tiled(options);
  tiled(backend, whole(q), whole(k), whole(v), expected.view(), arena);

  const Partition partition = Partition::even(tokens, ranks.size());
  const Segment mine = partition.segment(ranks.rank());
  const auto part = [&](const std::vector<float>& values) { return whole(values).rows(mine.begin, mine.count); };
  const auto apart = [&](const test::Rows<float>& got) {
    double worst = 0;
    for (std::size_t i = 0; i < got.values.size(); ++i) {
      const auto at = static_cast<std::size_t>(mine.begin * width) + i;
      worst = std::max(worst, std::abs(test::as_double(got.values[i]) - test::as_double(expected.values[at])));
    }
    return worst;
  };
  {
    const auto scope = arena.scope();
    RingRowStore<float, MpiCommunicator> store(ranks, partition.counts(), 2 * width, arena);
    backend.copy(part(k), store.local().columns(0, width));
    backend.copy(part(v), store.local().columns(width, width));
    test::Rows<float> out(mine.count, width);
    const RingAttention<float, Cpu, MpiCommunicator> ring(options);
    ring(backend, part(q), store, partition, partition, out.view(), arena);
    must(apart(out) <= 1e-6, "the ring differs from one rank");
  }
  SingleRank single;
  test::Rows<float> out(mine.count, width);
  const UlyssesAttention<float, Cpu, MpiCommunicator> by_heads(options);
  by_heads(backend, ranks, single, part(q), part(k), part(v), partition, partition, out.view(), arena);
  must(apart(out) == 0, "attention by heads differs from one rank");
}

/// fn ends with an error that blames the last rank, within the time.
void must_blame_the_last(const MpiCommunicator& ranks, const std::string& text, const std::function<void()>& fn) {
  const auto began = std::chrono::steady_clock::now();
  try {
    fn();
  } catch (const RankError& error) {
    const std::string what = error.what();
    must(error.rank() == ranks.size() - 1, "the wrong rank is blamed: " + what);
    must(what.find(text) != std::string::npos, "the error does not say why: " + what);
    must(what.find("rank " + std::to_string(ranks.rank()) + ": ") == 0, "the error does not say where: " + what);
    must(std::chrono::steady_clock::now() - began < 20s, "the error came late");
    return;
  }
  throw Error("no error");
}

/// The last rank sleeps past the deadline of a second; the others each wait for the next one, after what else
/// begin(peer) waits for.
void must_blame_the_sleeper(MpiCommunicator& ranks, const std::function<void(int peer)>& begin) {
  const int last = ranks.size() - 1;
  if (ranks.rank() == last) {
    std::this_thread::sleep_for(3500ms);
    return;
  }
  Cpu backend;
  test::Rows<float> rows(1, 1);
  must_blame_the_last(ranks, "rank " + std::to_string(last) + " did not come within 1000 ms", [&] {
    const int peer = ranks.rank() + 1;
    begin(peer);
    auto handle = ranks.exchange(backend, peer, TensorView<const float, 2>(), peer, rows.view());
    ranks.wait(backend, handle);
  });
}

/// With three, rank 0 waits for rank 1, which waits for the one that sleeps.
void stalled() {
  MPI_Barrier(MPI_COMM_WORLD);  // processes may start seconds apart
  MpiCommunicator ranks(MPI_COMM_WORLD, {.deadline = 1s});
  must_blame_the_sleeper(ranks, [](int) {});
}

/// The same where messages travel by other means: rank 0 waits for one of those, the others for messages of MPI.
void watches() {
  MPI_Barrier(MPI_COMM_WORLD);
  MpiCommunicator ranks(MPI_COMM_WORLD, {.deadline = 1s});
  const MpiTransport& transport = ranks.transport();
  int asked = 0;
  transport.watch(RankOperation::exchange, ranks.size() - 1, [&] { return ++asked == 3; });
  must(asked == 3, "a message that has come is waited for");
  must_blame_the_sleeper(ranks, [&](int peer) {
    if (ranks.rank() == 0) transport.watch(RankOperation::exchange, peer, [] { return false; });
  });
}

/// The last rank leaves with an error of its own; the deadline is far away.
void throws() {
  MpiCommunicator ranks(MPI_COMM_WORLD, {.deadline = 60s});
  if (ranks.rank() == ranks.size() - 1) {
    ranks.tell_failure("no more paper");
    return;
  }
  must_blame_the_last(ranks, "failed: no more paper", [&] { reduce(ranks, 8); });
}

/// The last rank sends less than the others expect.
void lengths() {
  MpiCommunicator ranks(MPI_COMM_WORLD, {.deadline = 2s});
  Cpu backend;
  const int last = ranks.size() - 1;
  test::Rows<float> rows(4, 1);
  if (ranks.rank() == last) {
    auto handle = ranks.exchange(backend, 0, rows.constant().rows(0, 2), 0, TensorView<float, 2>());
    ranks.wait(backend, handle);
  } else if (ranks.rank() == 0) {
    must_blame_the_last(ranks, "sent 8 bytes, rank 0 expected 16", [&] {
      auto handle = ranks.exchange(backend, last, TensorView<const float, 2>(), last, rows.view());
      ranks.wait(backend, handle);
    });
  }
}

}  // namespace
}  // namespace ltxmem

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const std::map<std::string, void (*)()> cases{{"conforms", ltxmem::conforms}, {"attention", ltxmem::attention},
                                                {"stalled", ltxmem::stalled},   {"watches", ltxmem::watches},
                                                {"throws", ltxmem::throws},     {"lengths", ltxmem::lengths}};
  try {
    cases.at(argc > 1 ? argv[1] : "")();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
