// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "cuda/rank_runners.hpp"

#include <exception>
#include <thread>

#include "cuda/session.cuh"
#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/attention/ulysses_attention.hpp"
#include "ltxmem/parallel/nccl_communicator.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"

namespace ltxmem::test::on_device {

namespace {

/// body(rank, session, communicator) in a thread for every rank; the first exception of any is thrown again.
template <class Body>
void on_ranks(int size, const NcclOptions& options, Body&& body) {
  ncclUniqueId id{};
  expects<NcclError>(ncclGetUniqueId(&id) == ncclSuccess, "ncclGetUniqueId failed");
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        Session session(rank);
        NcclCommunicator ranks(id, rank, size, options);
        body(rank, session, ranks);
      } catch (...) {
        failures[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

/// The rows of a rank, one segment after another, on its device.
template <class T>
TensorView<T, 2> shard_of(Session& session, TensorView<const T, 2> whole, const Partition& partition, int rank) {
  const TensorView<T, 2> shard = session.blank<T>(Extents<2>{partition.count(rank), whole.extent(1)});
  std::int64_t row = 0;
  for (const Segment& segment : partition.segments(rank)) {
    session.backend.copy(whole.rows(segment.begin, segment.count), shard.rows(row, segment.count));
    row += segment.count;
  }
  return shard;
}

/// The way back, of a result.
template <class T>
void bring_back(Session& session, TensorView<T, 2> shard, const Partition& partition, int rank,
                TensorView<T, 2> whole) {
  std::int64_t row = 0;
  for (const Segment& segment : partition.segments(rank)) {
    session.down(shard.rows(row, segment.count), whole.rows(segment.begin, segment.count));
    row += segment.count;
  }
}

}  // namespace

template <Element T>
void ring_attention(const AttentionTile<T>& whole, const Partition& queries, const Partition& keys,
                    TensorView<T, 2> out) {
  using Store = RingRowStore<T, NcclCommunicator>;
  using Ring = RingAttention<T, CudaBackend, NcclCommunicator>;
  const TiledAttentionOptions options{
      .heads = whole.heads, .kv_heads = whole.kv_heads, .scale = whole.scale, .causal = whole.causal};
  on_ranks(keys.ranks(), {}, [&](int rank, Session& session, NcclCommunicator& ranks) {
    CudaBackend& backend = session.backend;
    const TensorView<T, 2> q = shard_of(session, whole.q, queries, rank);
    const TensorView<T, 2> k = shard_of(session, whole.k, keys, rank);
    const TensorView<T, 2> v = shard_of(session, whole.v, keys, rank);
    const TensorView<T, 2> result = session.blank<T>(q.extents());
    const std::int64_t width = whole.k.extent(1);
    const std::size_t bytes = Store::workspace_bytes(keys.counts(), rank, 2 * width) +
                              Ring::workspace_bytes(backend, rank, queries, keys, whole.head_dim(), options);
    session.within(bytes, [&](Arena& arena) {
      Store store(ranks, keys.counts(), 2 * width, arena);
      backend.copy(TensorView<const T, 2>(k), store.local().columns(0, width));
      backend.copy(TensorView<const T, 2>(v), store.local().columns(width, width));
      const Ring attention(options);
      attention(backend, TensorView<const T, 2>(q), store, queries, keys, result, arena, AttentionExtras{});
    });
    bring_back(session, result, queries, rank, out);
  });
}

template <Element T>
void ulysses_attention(const AttentionTile<T>& whole, const Partition& tokens, TensorView<T, 2> out) {
  using Ulysses = UlyssesAttention<T, CudaBackend, NcclCommunicator>;
  const TiledAttentionOptions options{
      .heads = whole.heads, .kv_heads = whole.kv_heads, .scale = whole.scale, .causal = whole.causal};
  on_ranks(tokens.ranks(), {}, [&](int rank, Session& session, NcclCommunicator& ranks) {
    SingleRank ring;
    const TensorView<T, 2> q = shard_of(session, whole.q, tokens, rank);
    const TensorView<T, 2> k = shard_of(session, whole.k, tokens, rank);
    const TensorView<T, 2> v = shard_of(session, whole.v, tokens, rank);
    const std::size_t bytes =
        Ulysses::workspace_bytes(session.backend, ranks, ring, tokens, tokens, whole.head_dim(), options);
    session.within(bytes, [&](Arena& arena) {
      const Ulysses attention(options);
      attention(session.backend, ranks, ring, TensorView<const T, 2>(q), TensorView<const T, 2>(k),
                TensorView<const T, 2>(v), tokens, tokens, q, arena);
    });
    bring_back(session, q, tokens, rank, out);
  });
}

template <Element T>
std::vector<std::vector<T>> tensor_parallel_ffn(TensorView<const T, 2> x, const WeightMatrix& up,
                                                const WeightMatrix& down, const Partition& hidden,
                                                const ChunkedFfnOptions& options) {
  using Layer = TensorParallelLinear<DenseLinear, NcclCommunicator>;
  const Extents<2> extents{x.extent(0), down.rows};
  std::vector<std::vector<T>> results(static_cast<std::size_t>(hidden.ranks()));
  on_ranks(hidden.ranks(), {}, [&](int rank, Session& session, NcclCommunicator& ranks) {
    const ChunkedFFN<T, CudaBackend, Layer> network(Layer::by_outputs(DenseLinear(session.up(up), {}), hidden, ranks),
                                                    Layer::by_inputs(DenseLinear(session.up(down), {}), hidden, ranks));
    const TensorView<T, 2> device_x = session.up(x);
    const TensorView<T, 2> device_y = session.blank<T>(extents);
    session.within(network.workspace_bytes(session.backend, x.extent(0), options), [&](Arena& arena) {
      network(session.backend, TensorView<const T, 2>(device_x), {}, device_y, arena, options);
    });
    std::vector<T>& y = results[static_cast<std::size_t>(rank)];
    y.resize(static_cast<std::size_t>(element_count(extents)));
    session.down(device_y, TensorView<T, 2>(y.data(), extents));
  });
  return results;
}

std::vector<std::vector<float>> all_reduce(const std::vector<std::vector<float>>& rows) {
  std::vector<std::vector<float>> results = rows;
  on_ranks(static_cast<int>(rows.size()), {}, [&](int rank, Session& session, NcclCommunicator& ranks) {
    std::vector<float>& mine = results[static_cast<std::size_t>(rank)];
    const Extents<2> extents{1, static_cast<std::int64_t>(mine.size())};
    const TensorView<float, 2> on_device = session.up(TensorView<const float, 2>(mine.data(), extents));
    session.within(ranks.all_reduce_workspace_bytes<float>(extents),
                   [&](Arena& arena) { ranks.all_reduce(session.backend, Reduction::sum, on_device, arena); });
    ranks.barrier(session.backend);
    session.down(on_device, TensorView<float, 2>(mine.data(), extents));
  });
  return results;
}

std::string wait_in_vain(std::chrono::milliseconds deadline) {
  std::string text;
  on_ranks(2, {.deadline = deadline}, [&](int rank, Session& session, NcclCommunicator& ranks) {
    const TensorView<float, 2> rows = session.blank<float>(Extents<2>{1, 8});
    if (rank == 1) {
      std::this_thread::sleep_for(2 * deadline);
      return;
    }
    try {
      auto handle = ranks.exchange(session.backend, 1, TensorView<const float, 2>(rows.rows(0, 0)), 1, rows);
      ranks.wait(session.backend, handle);
    } catch (const RankError& error) {
      text = error.what();
    }
  });
  return text;
}

// NOLINTBEGIN
#define RUNNERS(T)                                                                                             \
  template void ring_attention(const AttentionTile<T>&, const Partition&, const Partition&, TensorView<T, 2>); \
  template void ulysses_attention(const AttentionTile<T>&, const Partition&, TensorView<T, 2>);                \
  template std::vector<std::vector<T>> tensor_parallel_ffn(                                                    \
      TensorView<const T, 2>, const WeightMatrix&, const WeightMatrix&, const Partition&, const ChunkedFfnOptions&);
RUNNERS(float)
RUNNERS(bfloat16)
// NOLINTEND

}  // namespace ltxmem::test::on_device
