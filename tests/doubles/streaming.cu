// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "doubles/streaming.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "ltxmem/backend/cuda/backend.cuh"
#include "ltxmem/backend/cuda/cuda_peer.hpp"
#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/core/tensor.hpp"
#include "ltxmem/stores/host_row_store.hpp"
#include "ltxmem/weights/weight_stream.hpp"

namespace ltxmem::test::on_device {

namespace {

std::byte weight_byte(std::int64_t block, std::int64_t i) {
  return static_cast<std::byte>((block * 61 + i * 7 + i / 251) & 0xff);
}

std::vector<WeightBlock> blocks_of_weights(std::int64_t count, std::size_t bytes) {
  std::vector<WeightBlock> blocks;
  for (std::int64_t block = 0; block < count; ++block) {
    blocks.emplace_back(std::vector<WeightPiece>{
        {bytes, buffer_alignment, [block](std::size_t begin, std::span<std::byte> part) {
           for (std::size_t i = 0; i < part.size(); ++i) {
             part[i] = weight_byte(block, static_cast<std::int64_t>(begin + i));
           }
         }}});
  }
  return blocks;
}

/// All rows from one store to the other.
template <class Store>
void pass_tiles(CudaBackend& backend, Store& in, Store& out, std::int64_t tile) {
  for_each_tile(backend, in.rows(), tile, [&](std::int64_t begin, std::int64_t count) {
    const auto arrived = in.load(backend, begin, count);
    prefetch_tile(backend, in, begin + count, tile);
    backend.copy(arrived, out.stage(backend, begin, count));
    out.store(backend, begin, count);
  });
}

}  // namespace

bool weights_arrive(std::int64_t slots, std::int64_t pinned_slots, std::int64_t resident) {
  constexpr std::int64_t count = 6;
  constexpr std::int64_t passes = 3;
  constexpr std::int64_t bytes = 1000;
  const std::vector<WeightBlock> blocks = blocks_of_weights(count, bytes);
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  const WeightStreamOptions options{.slots = slots, .pinned_slots = pinned_slots, .resident = resident};
  const WeightStreamLayout layout(blocks, options);
  Tensor<std::byte, 2> seen(device, {passes * count, bytes});
  Tensor<std::byte, 2> result(pinned, {passes * count, bytes});
  {
    Arena device_arena(device, layout.device_bytes());
    Arena pinned_arena(pinned, layout.pinned_bytes());
    WeightStream<CudaBackend> stream(backend, blocks, options, device_arena, pinned_arena);
    for (std::int64_t turn = 0; turn < passes * count; ++turn) {
      const std::byte* at = stream.acquire(turn % count);
      backend.copy(TensorView<const std::byte, 2>(at, {1, bytes}), seen.view().rows(turn, 1));
    }
  }
  backend.copy(TensorView<const std::byte, 2>(seen.view()), result.view());
  backend.synchronize();
  bool right = true;
  for (std::int64_t turn = 0; turn < passes * count; ++turn) {
    for (std::int64_t i = 0; i < bytes; ++i) right = right && result.view()(turn, i) == weight_byte(turn % count, i);
  }
  return right;
}

bool rows_pass(std::int64_t tile) {
  constexpr std::int64_t rows = 23;
  constexpr std::int64_t width = 5;
  using Store = HostRowStore<float, CudaBackend>;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  Tensor<float, 2> from(pinned, {rows, width});
  Tensor<float, 2> to(pinned, {rows, width});
  Tensor<float, 2> again(pinned, {rows, width});
  for (std::int64_t i = 0; i < rows * width; ++i) from.view().data()[i] = static_cast<float>(i);
  {
    Arena slots(device, 2 * Store::workspace_bytes(tile, width));
    Store in(backend, from.view(), slots, tile);
    Store out(backend, to.view(), slots, tile);
    pass_tiles(backend, in, out, tile);
    // A staged tile that is read once more, and one that left for the host before.
    Arena more(device, Store::workspace_bytes(tile, width));
    out.finish();
    Store back(backend, to.view(), more, tile);
    Tensor<float, 2> whole(device, {rows, width});
    for_each_tile(backend, rows, tile, [&](std::int64_t begin, std::int64_t count) {
      backend.copy(back.load(backend, begin, count), whole.view().rows(begin, count));
    });
    backend.copy(TensorView<const float, 2>(whole.view()), again.view());
  }
  backend.synchronize();
  bool right = true;
  for (std::int64_t i = 0; i < rows * width; ++i) {
    right = right && to.view().data()[i] == static_cast<float>(i) && again.view().data()[i] == static_cast<float>(i);
  }
  return right;
}

bool staged_rows_stay() {
  constexpr std::int64_t width = 5;
  using Store = HostRowStore<float, CudaBackend>;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  Tensor<float, 2> rows(pinned, {6, width});
  Tensor<float, 2> seen(pinned, {4, width});
  Tensor<float, 2> one(pinned, {4, width});
  Tensor<float, 2> two(pinned, {4, width});
  const auto fill = [](TensorView<float, 2> view, float value) { std::fill_n(view.data(), view.size(), value); };
  fill(rows.view(), 0.0F);
  fill(one.view(), 1.0F);
  fill(two.view(), 2.0F);
  {
    Arena slots(device, Store::workspace_bytes(4, width));
    Store store(backend, rows.view(), slots, 4);
    backend.copy(TensorView<const float, 2>(one.view()), store.stage(backend, 0, 4));
    store.store(backend, 0, 4);
    backend.copy(store.load(backend, 2, 4), seen.view());
    backend.copy(TensorView<const float, 2>(two.view()), store.stage(backend, 2, 4));
    store.store(backend, 2, 4);
    backend.copy(TensorView<const float, 2>(one.view()), store.stage(backend, 2, 4));
  }
  backend.synchronize();
  bool right = true;
  for (std::int64_t row = 0; row < 6; ++row) right = right && rows.view()(row, 0) == (row < 2 ? 1.0F : 2.0F);
  for (std::int64_t row = 0; row < 4; ++row) right = right && seen.view()(row, 0) == (row < 2 ? 1.0F : 0.0F);
  return right;
}

bool rows_visit_from_other_devices(std::int64_t tile, bool direct) {
  constexpr std::int64_t rows = 23;
  constexpr std::int64_t width = 5;
  using Store = HostRowStore<float, CudaBackend>;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  PeerResource one(1);
  PeerResource two(2);
  const PeerResource again(2);  // access is there already
  Tensor<float, 2> values(pinned, {rows, width});
  Tensor<float, 2> result(pinned, {rows, width});
  Tensor<float, 2> from(one, {rows, width});
  Tensor<float, 2> to(two, {rows, width});
  for (std::int64_t i = 0; i < rows * width; ++i) values.view().data()[i] = static_cast<float>(i);
  backend.copy(TensorView<const float, 2>(values.view()), from.view());
  {
    Arena slots(device, 2 * Store::workspace_bytes(tile, width));
    Store in(backend, from.view(), slots, tile);
    Store out(backend, to.view(), slots, tile);
    pass_tiles(backend, in, out, tile);
  }
  backend.copy(TensorView<const float, 2>(to.view()), result.view());
  backend.synchronize();
  bool right = one.is_direct() == direct && two.is_direct() == direct && again.is_direct() == direct;
  for (std::int64_t i = 0; i < rows * width; ++i) {
    right = right && result.view().data()[i] == static_cast<float>(i);
  }
  return right;
}

void take_memory_of_other_device(int computing, int device, std::size_t bytes) {
  const CudaBackend backend(computing);
  CudaResource here(backend.stream());
  const Arena own(here, 600);  // so that as much as the other device has is not here
  PeerResource memory(device);
  memory.deallocate(memory.allocate(bytes, buffer_alignment), bytes, buffer_alignment);
}

bool slots_change_hands() {
  constexpr std::int64_t width = 5;
  using Store = HostRowStore<float, CudaBackend>;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  Tensor<float, 2> rows(pinned, {20, width});
  Tensor<float, 2> seen(pinned, {16, width});
  Tensor<float, 2> fresh(pinned, {4, width});
  std::fill_n(rows.view().data(), rows.view().size(), 1.0F);
  std::fill_n(fresh.view().data(), fresh.view().size(), 2.0F);
  {
    Arena slots(device, Store::workspace_bytes(4, width));
    Store store(backend, rows.view(), slots, 4);
    const auto write = [&](std::int64_t begin) {
      backend.copy(TensorView<const float, 2>(fresh.view()), store.stage(backend, begin, 4));
      store.store(backend, begin, 4);
    };
    const auto look = [&](std::int64_t begin) {
      backend.copy(store.load(backend, begin, 4), seen.view().rows(begin, 4));
    };
    look(0);
    store.prefetch(backend, 4, 4);
    write(4);  // a tile that is on its way
    look(4);
    store.prefetch(backend, 8, 4);
    write(12);  // in the slot of one that is on its way
    look(12);
    look(8);
    look(0);
    write(2);  // a part of what the other slot holds
    look(0);
    store.prefetch(backend, 16, 4);
  }
  backend.synchronize();
  const auto is_fresh = [](std::int64_t row) { return (row >= 2 && row < 8) || (row >= 12 && row < 16); };
  bool right = true;
  for (std::int64_t row = 0; row < 20; ++row) {
    for (std::int64_t column = 0; column < width; ++column) {
      const float expected = is_fresh(row) ? 2.0F : 1.0F;
      right = right && rows.view()(row, column) == expected;
      if (row < 16) right = right && seen.view()(row, column) == expected;
    }
  }
  return right;
}

bool columns_share_slots() {
  constexpr std::int64_t width = 6;
  constexpr std::int64_t part_width = 4;
  using Store = HostRowStore<float, CudaBackend>;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  Tensor<float, 2> rows(pinned, {8, width});
  Tensor<float, 2> seen(pinned, {8, part_width});
  Tensor<float, 2> fresh(pinned, {4, width});
  for (std::int64_t i = 0; i < rows.view().size(); ++i) rows.view().data()[i] = static_cast<float>(i);
  for (std::int64_t i = 0; i < fresh.view().size(); ++i) fresh.view().data()[i] = static_cast<float>(-i);
  {
    Arena slots(device, Store::workspace_bytes(4, width));
    Store store(backend, rows.view(), slots, 4);
    backend.copy(TensorView<const float, 2>(fresh.view()), store.stage(backend, 0, 4));
    store.store(backend, 0, 4);
    Store part = store.columns(width - part_width, part_width);
    for (const std::int64_t begin : {4, 0}) {
      backend.copy(part.load(backend, begin, 4), seen.view().rows(begin, 4));
    }
  }
  backend.synchronize();
  bool right = true;
  for (std::int64_t row = 0; row < 8; ++row) {
    for (std::int64_t column = 0; column < width; ++column) {
      const auto expected = static_cast<float>((row < 4 ? -1 : 1) * (row * width + column));
      right = right && rows.view()(row, column) == expected;
      if (column >= width - part_width) right = right && seen.view()(row, column - (width - part_width)) == expected;
    }
  }
  return right;
}

bool synchronising_ends_copies() {
  constexpr std::int64_t width = 64;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  Tensor<float, 2> from(pinned, {1, width});
  Tensor<float, 2> to(pinned, {1, width});
  Tensor<float, 2> values(device, {1, width});
  std::fill_n(from.view().data(), width, 1.0F);
  const auto event = backend.copy_async(CopyQueue::in, TensorView<const float, 2>(from.view()), values.view());
  backend.synchronize();
  std::fill_n(from.view().data(), width, 2.0F);  // what has been copied
  backend.wait(event);
  const auto left = backend.copy_async(CopyQueue::out, TensorView<const float, 2>(values.view()), to.view());
  backend.synchronize();
  const bool right = std::all_of(to.view().data(), to.view().data() + width, [](float x) { return x == 1.0F; });
  backend.wait(left);
  return right;
}

bool buffers_outlive_their_work() {
  constexpr std::int64_t width = 64;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  Tensor<float, 2> from(pinned, {1, width});
  Tensor<float, 2> to(pinned, {1, width});
  for (std::int64_t i = 0; i < width; ++i) from.view().data()[i] = static_cast<float>(i);
  {
    Tensor<float, 2> first(device, {1, width});
    Tensor<float, 2> second(device, {1, width});
    backend.wait(backend.copy_async(CopyQueue::in, TensorView<const float, 2>(from.view()), first.view()));
    backend.copy(TensorView<const float, 2>(first.view()), second.view());
    const auto event = backend.copy_async(CopyQueue::out, TensorView<const float, 2>(second.view()), to.view());
    backend.synchronize(event);
    backend.wait(event);
  }
  bool right = true;
  for (std::int64_t i = 0; i < width; ++i) right = right && to.view().data()[i] == static_cast<float>(i);
  backend.synchronize();
  return right;
}

void launch_while_streaming() {
  constexpr std::int64_t width = 64;
  CudaBackend backend;
  CudaResource device(backend.stream());
  PinnedResource pinned;
  const std::vector<WeightBlock> blocks = blocks_of_weights(4, 1000);
  const WeightStreamLayout layout(blocks, {});
  Tensor<float, 2> rows(pinned, {2, width});
  for (std::int64_t i = 0; i < 2 * width; ++i) rows.view().data()[i] = 1.0F;
  Tensor<bfloat16, 2> narrow(device, {1, width});
  Arena device_arena(device, layout.device_bytes());
  Arena pinned_arena(pinned, layout.pinned_bytes());
  Arena slots(device, HostRowStore<float, CudaBackend>::workspace_bytes(1, width));
  WeightStream<CudaBackend> stream(backend, blocks, {}, device_arena, pinned_arena);
  HostRowStore<float, CudaBackend> store(backend, rows.view(), slots, 1);
  stream.acquire(0);
  const auto row = store.load(backend, 0, 1);
  store.prefetch(backend, 1, 1);
  backend.copy(row, narrow.view());
  backend.synchronize();
}

}  // namespace ltxmem::test::on_device
