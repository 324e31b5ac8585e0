// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/weights/weight_stream.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;

/// Blocks of different sizes, every byte of which tells its block and place; notes the order they are read in.
class Blocks {
 public:
  explicit Blocks(std::int64_t count, std::size_t bytes = 5000) {
    for (std::int64_t block = 0; block < count; ++block) {
      std::vector<WeightPiece> pieces;
      for (std::int64_t piece = 0; piece < 2; ++piece) {
        const std::size_t size = bytes + static_cast<std::size_t>(100 * (block % 3) + piece);
        pieces.push_back({size, buffer_alignment, [this, block, piece](std::size_t begin, std::span<std::byte> part) {
                            if (on_read) on_read(block);
                            if (begin == 0 && piece == 0) order.push_back(block);
                            for (std::size_t i = 0; i < part.size(); ++i) part[i] = value(block, piece, begin + i);
                          }});
      }
      blocks_.emplace_back(std::move(pieces));
    }
  }
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  operator std::span<const WeightBlock>() const { return blocks_; }  // NOLINT(google-explicit-constructor)
  const WeightBlock& operator[](std::int64_t block) const { return blocks_[static_cast<std::size_t>(block)]; }
  std::int64_t size() const { return static_cast<std::int64_t>(blocks_.size()); }

  bool are_at(std::int64_t block, const std::byte* address) const {
    for (std::int64_t piece = 0; piece < 2; ++piece) {
      const std::byte* from = address + (*this)[block].offset(static_cast<std::size_t>(piece));
      const std::size_t bytes = (*this)[block].bytes() - (*this)[block].offset(1);
      for (std::size_t i = 0; i + 1 < bytes; ++i) {
        if (from[i] != value(block, piece, i)) return false;
      }
    }
    return true;
  }

  std::function<void(std::int64_t block)> on_read;  ///< in the reading thread
  std::vector<std::int64_t> order;                  ///< read it when the stream is gone

 private:
  static std::byte value(std::int64_t block, std::int64_t piece, std::size_t i) {
    return static_cast<std::byte>((static_cast<std::size_t>(block * 61 + piece * 17) + i * 7 + i / 251) & 0xFFU);
  }

  std::vector<WeightBlock> blocks_;
};

/// Arenas of exactly the bytes that the formula names, and a stream in them, with stores of these weights.
struct Running {
  Running(const Blocks& blocks, const WeightStreamOptions& options, Cpu& backend,
          const std::vector<double>& weights = {})
      : layout(blocks, options),
        device(resource, layout.device_bytes()),
        device_begin(static_cast<const std::byte*>(device.take_bytes("", 0))),
        pinned(resource, layout.pinned_bytes()) {
    for (const double weight : weights) stores.push_back({Arena(resource, std::size_t{1} << 20), weight});
    stream.emplace(backend, blocks, options, device, pinned, stores);
  }
  std::size_t stored_bytes() const {
    std::size_t sum = 0;
    for (const StoreArena& store : stores) sum += store.arena.used_bytes();
    return sum;
  }

  HostResource resource;
  WeightStreamLayout layout;
  Arena device;
  const std::byte* device_begin;
  Arena pinned;
  std::vector<StoreArena> stores;
  std::optional<WeightStream<Cpu>> stream;
};

void run_pass(const Blocks& blocks, WeightStream<Cpu>& stream, std::int64_t first = 0) {
  for (std::int64_t block = first; block < blocks.size(); ++block) {
    CHECK(blocks.are_at(block, stream.acquire(block)));
  }
}

/// Of eight blocks.
void run_out_of_turn(const Blocks& blocks, WeightStream<Cpu>& stream) {
  CHECK(blocks.are_at(5, stream.acquire(5)));  // the very first one
  run_pass(blocks, stream, 6);
  run_pass(blocks, stream);
  run_pass(blocks, stream, 4);  // a pass that shares its first half with the one before
  run_pass(blocks, stream);
  for (const std::int64_t block : {3, 3, 0}) CHECK(blocks.are_at(block, stream.acquire(block)));
}

TEST_CASE("every block arrives whole for any number of slots and resident blocks, pass after pass") {
  for (const std::int64_t slots : {1, 2, 3, 5}) {
    for (const std::int64_t pinned_slots : {1, 2, 3}) {
      for (const std::int64_t resident : {0, 1, 3, 6, 7, 20}) {
        INFO(slots << " slots, " << pinned_slots << " pinned, " << resident << " resident");
        Blocks blocks(7);
        Cpu backend;
        Running run(blocks, {.slots = slots, .pinned_slots = pinned_slots, .resident = resident}, backend);
        for (int pass = 0; pass < 3; ++pass) run_pass(blocks, *run.stream);
      }
    }
  }
}

TEST_CASE("blocks are read in order, each resident one once") {
  Blocks blocks(5);
  {
    Cpu backend;
    Running run(blocks, {.pinned_slots = 1, .resident = 2}, backend);
    for (int pass = 0; pass < 3; ++pass) run_pass(blocks, *run.stream);
  }
  const std::vector<std::int64_t> expected{0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4};
  REQUIRE(blocks.order.size() >= 11);
  REQUIRE(blocks.order.size() <= expected.size());
  CHECK(std::equal(blocks.order.begin(), blocks.order.end(), expected.begin()));
}

TEST_CASE("a stream for one pass reads every block once") {
  Blocks blocks(6);
  {
    Cpu backend;
    Running run(blocks, {.slots = 3, .repeats = false}, backend);
    run_pass(blocks, *run.stream);
  }
  CHECK(blocks.order == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("the block after the one in use is read and sent meanwhile") {
  Blocks blocks(4);
  std::atomic<std::int64_t> last_read = -1;
  blocks.on_read = [&](std::int64_t block) { last_read = block; };
  Cpu backend;
  Running run(blocks, {}, backend);
  run.stream->acquire(0);
  // Two slots hold blocks 0 and 1, the pinned ones 2 and 3, without another call.
  for (int tries = 0; last_read < 3 && tries < 5000; ++tries) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(last_read == 3);
}

TEST_CASE("a block asked for out of turn arrives as well, and the ones after it") {
  for (const std::int64_t resident : {0, 2}) {
    for (const bool repeats : {true, false}) {
      Blocks blocks(8);
      Cpu backend;
      Running run(blocks, {.resident = resident, .repeats = repeats}, backend);
      run_out_of_turn(blocks, *run.stream);
    }
  }
}

TEST_CASE("a resident block keeps its place, a streamed one visits the slots in turn") {
  Blocks blocks(7);
  Cpu backend;
  Running run(blocks, {.slots = 2, .resident = 3}, backend);
  std::vector<const std::byte*> first;
  std::vector<const std::byte*> second;
  for (std::int64_t block = 0; block < 7; ++block) first.push_back(run.stream->acquire(block));
  for (std::int64_t block = 0; block < 7; ++block) second.push_back(run.stream->acquire(block));
  CHECK(first == second);
  CHECK(first[3] == first[5]);
  CHECK(first[4] == first[6]);
  CHECK(first[3] != first[4]);
}

TEST_CASE("blocks larger than a parcel become resident part by part") {
  Blocks blocks(2, (std::size_t{40} << 20));
  Cpu backend;
  Running run(blocks, {.resident = 2}, backend);
  CHECK(run.layout.pinned_slot_bytes == WeightStreamLayout::parcel_bytes);
  run_pass(blocks, *run.stream);
}

TEST_CASE("what a stream takes is what its formula says, dry and real") {
  for (const std::int64_t slots : {1, 2, 4}) {
    for (const std::int64_t resident : {0, 2, 5}) {
      Blocks blocks(6);
      const WeightStreamOptions options{.slots = slots, .resident = resident};
      Cpu backend;
      Running run(blocks, options, backend);
      Workspace dry = Workspace::make_virtual();
      Dry planner(backend.target());
      const WeightStream<Dry> rehearsed(planner, blocks, options, dry.device, dry.pinned);
      CHECK(run.device.peak_bytes() == run.layout.device_bytes());
      CHECK(run.pinned.peak_bytes() == run.layout.pinned_bytes());
      CHECK(dry.device.peak_bytes() == run.layout.device_bytes());
      CHECK(dry.pinned.peak_bytes() == run.layout.pinned_bytes());
      CHECK(dry.host.peak_bytes() == 0);
    }
  }
}

TEST_CASE("blocks that would fit into the slots stay instead") {
  Blocks blocks(3);
  const WeightStreamLayout layout(blocks, {.slots = 2, .resident = 1});
  CHECK(layout.resident == 3);
  CHECK(layout.slots == 0);
  CHECK(layout.device_bytes() ==
        aligned_bytes(blocks[0].bytes()) + aligned_bytes(blocks[1].bytes()) + aligned_bytes(blocks[2].bytes()));
  CHECK(WeightStreamLayout(blocks, {.slots = 1, .resident = 1}).resident == 1);
}

TEST_CASE("slots have the size of the largest streamed block, whatever stays") {
  std::vector<WeightBlock> blocks;
  for (const std::size_t bytes : {9000U, 300U, 600U, 256U})
    blocks.emplace_back(std::vector{WeightPiece{bytes, 256, {}}});
  const WeightStreamLayout layout(blocks, {.slots = 2, .resident = 1});
  CHECK(layout.slot_bytes == 768);
  CHECK(layout.pinned_slot_bytes == 768);
  CHECK(layout.device_bytes() == 9216 + 2 * 768);
}

TEST_CASE("stored blocks arrive whole, pass after pass, and are read once") {
  for (const std::int64_t slots : {1, 2, 3}) {
    for (const std::int64_t pinned_slots : {1, 2, 3}) {
      for (const std::int64_t resident : {0, 2}) {
        for (const std::int64_t stored : {1, 4, 20}) {
          INFO(slots << " slots, " << pinned_slots << " pinned, " << resident << " resident, " << stored << " stored");
          Blocks blocks(9);
          Cpu backend;
          {
            Running run(blocks, {.slots = slots, .pinned_slots = pinned_slots, .resident = resident, .stored = stored},
                        backend, {2, 0, 1});
            for (int pass = 0; pass < 4; ++pass) run_pass(blocks, *run.stream);
            std::size_t bytes = 0;
            for (std::int64_t block = resident; block < std::min<std::int64_t>(9, resident + stored); ++block) {
              bytes += aligned_bytes(blocks[block].bytes());
            }
            CHECK(run.stored_bytes() == bytes);
            CHECK(run.stores[1].arena.used_bytes() == 0);
            CHECK(run.stores[0].arena.used_bytes() > run.stores[2].arena.used_bytes());
          }
          for (std::int64_t block = 0; block < 9; ++block) {
            const auto reads = std::count(blocks.order.begin(), blocks.order.end(), block);
            CHECK((block < resident + stored ? reads == 1 : reads >= 4));
          }
        }
      }
    }
  }
}

TEST_CASE("stored blocks asked for out of turn arrive as well, whether they are home or not") {
  for (const std::int64_t stored : {2, 8}) {
    Blocks blocks(8);
    Cpu backend;
    Running run(blocks, {.stored = stored}, backend, {1, 1});
    run_out_of_turn(blocks, *run.stream);
  }
}

TEST_CASE("in a dry run stored blocks come from other devices, the others from disk and host") {
  Blocks blocks(6);
  Workspace dry = Workspace::make_virtual();
  for (const double weight : {1.0, 2.0}) dry.stores.push_back({Arena::make_virtual(), weight});
  Dry planner{Cpu::Target{}};
  WeightStream<Dry> stream(planner, blocks, {.resident = 1, .stored = 2, .cached = 1, .warm = true}, dry.device,
                           dry.pinned, dry.stores);
  for (std::int64_t block = 0; block < 6; ++block) stream.acquire(block);
  std::vector<WorkQueue> queues;
  for (const Record::Entry& entry : planner.record().entries()) queues.push_back(entry.queue);
  // Sent ahead are 2 (stored), 3 (cached), 4 and 5 (read), and 1 (stored) of the next pass.
  CHECK(queues == std::vector<WorkQueue>{WorkQueue::peer_in, WorkQueue::copy_in, WorkQueue::disk, WorkQueue::copy_in,
                                         WorkQueue::disk, WorkQueue::copy_in, WorkQueue::peer_in});
  CHECK(planner.record().entries()[0].bytes == static_cast<std::int64_t>(blocks[2].bytes()));
  CHECK(dry.stores[0].arena.peak_bytes() + dry.stores[1].arena.peak_bytes() ==
        aligned_bytes(blocks[1].bytes()) + aligned_bytes(blocks[2].bytes()));
}

TEST_CASE("without blocks nothing is taken") {
  Blocks blocks(0);
  Cpu backend;
  Running run(blocks, {}, backend);
  CHECK(run.device.peak_bytes() + run.pinned.peak_bytes() == 0);
  CHECK_THROWS_AS(run.stream->acquire(0), ShapeError);
}

TEST_CASE("a stream without slots, or asked for a block that it lacks, is refused") {
  Blocks blocks(3);
  CHECK_THROWS_AS(WeightStreamLayout(blocks, {.slots = 0}), ShapeError);
  CHECK_THROWS_AS(WeightStreamLayout(blocks, {.pinned_slots = 0}), ShapeError);
  CHECK_THROWS_AS(WeightStreamLayout(blocks, {.resident = -1}), ShapeError);
  Cpu backend;
  CHECK_THROWS_AS(Running(blocks, {.stored = -1}, backend, {1}), ShapeError);
  Running run(blocks, {}, backend);
  CHECK_THROWS_AS(run.stream->acquire(3), ShapeError);
  CHECK_THROWS_AS(run.stream->acquire(-1), ShapeError);
}

TEST_CASE("what reading throws reaches the caller when it comes to that block, and again afterwards") {
  Blocks blocks(6);
  blocks.on_read = [](std::int64_t block) {
    if (block == 3) throw IoError("file is shorter than it was");
  };
  Cpu backend;
  Running run(blocks, {.slots = 1}, backend);
  for (std::int64_t block = 0; block < 3; ++block) CHECK(blocks.are_at(block, run.stream->acquire(block)));
  CHECK_THROWS_WITH(run.stream->acquire(3), "file is shorter than it was");
  CHECK_THROWS_AS(run.stream->acquire(3), IoError);
}

TEST_CASE("a stop while the caller waits for a block ends the wait") {
  Blocks blocks(4);
  std::stop_source stop;
  blocks.on_read = [&](std::int64_t block) {
    if (block != 2) return;
    while (!stop.stop_requested()) std::this_thread::yield();  // a disk that does not answer
  };
  Cpu backend;
  Running run(blocks, {.slots = 1, .stop = stop.get_token()}, backend);
  run.stream->acquire(0);
  run.stream->acquire(1);
  std::thread interrupt([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop.request_stop();
  });
  CHECK_THROWS_AS(run.stream->acquire(2), Cancelled);
  interrupt.join();
  run.stream.reset();
}

TEST_CASE("a stop that came before a block was read ends reading within a portion") {
  Blocks blocks(3);
  std::stop_source stop;
  stop.request_stop();
  Cpu backend;
  Running run(blocks, {.slots = 1, .stop = stop.get_token()}, backend);
  CHECK_THROWS_AS(run.stream->acquire(0), Cancelled);
  CHECK(blocks.order.empty());
}

TEST_CASE("a stream may end at any point") {
  for (std::int64_t used = 0; used <= 9; ++used) {
    for (const std::int64_t resident : {0, 2}) {
      Blocks blocks(4);
      Cpu backend;
      Running run(blocks, {.resident = resident}, backend);
      for (std::int64_t i = 0; i < used; ++i) CHECK(blocks.are_at(i % 4, run.stream->acquire(i % 4)));
      run.stream.reset();
      // The memory is the caller's again: nobody writes it any more.
      std::vector<std::byte> before(run.device_begin, run.device_begin + run.layout.device_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      CHECK(std::equal(before.begin(), before.end(), run.device_begin));
    }
  }
}

TEST_CASE("a stream that waits for room ends at once") {
  Blocks blocks(8);
  Cpu backend;
  Running run(blocks, {}, backend);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // both pinned slots are full by now
  run.stream.reset();
  CHECK(blocks.order.size() <= 2);
}

TEST_CASE("work on one block overlaps with the way of the next and reads what it should") {
  // The backend's threads read the slot while the copy queue fills the other and the thread reads ahead.
  Blocks blocks(6, 60000);
  Cpu backend({.threads = 2});
  Running run(blocks, {.slots = 2}, backend);
  std::vector<std::uint64_t> sums;
  for (int pass = 0; pass < 2; ++pass) {
    for (std::int64_t block = 0; block < 6; ++block) {
      const std::byte* address = run.stream->acquire(block);
      std::vector<std::uint64_t> parts(64);
      const std::size_t bytes = blocks[block].offset(1);
      backend.for_each({"sum", 0, 0}, 64, [&, address](std::int64_t part) {
        for (auto i = static_cast<std::size_t>(part); i < 60000; i += 64) {
          parts[static_cast<std::size_t>(part)] += static_cast<std::uint64_t>(address[i]) * (i + 1);
        }
      });
      REQUIRE(bytes >= 60000);
      std::uint64_t sum = 0;
      for (const std::uint64_t part : parts) sum += part;
      sums.push_back(sum);
    }
  }
  for (std::size_t block = 0; block < 6; ++block) {
    CHECK(sums[block] == sums[block + 6]);
    if (block > 0) CHECK(sums[block] != sums[block - 1]);
  }
}

// ------------------------------------------------------------------------------------------------------- dry runs

std::int64_t transfer_bytes(const Blocks& blocks, const WeightStreamOptions& options) {
  Dry backend(Cpu().target());
  Workspace workspace = Workspace::make_virtual();
  WeightStream<Dry> stream(backend, blocks, options, workspace.device, workspace.pinned);
  for (std::int64_t block = 0; block < blocks.size(); ++block) stream.acquire(block);
  return backend.record().totals().transfer_bytes;
}

std::int64_t bytes_from(const Blocks& blocks, std::int64_t first) {
  std::int64_t sum = 0;
  for (std::int64_t block = first; block < blocks.size(); ++block)
    sum += static_cast<std::int64_t>(blocks[block].bytes());
  return sum;
}

TEST_CASE("a dry run of one pass transfers every block once and reads nothing") {
  Blocks blocks(7);
  for (const std::int64_t slots : {1, 2, 3}) {
    for (const std::int64_t resident : {0, 3, 7}) {
      CHECK(transfer_bytes(blocks, {.slots = slots, .resident = resident, .repeats = false}) == bytes_from(blocks, 0));
    }
  }
  CHECK(blocks.order.empty());
}

TEST_CASE("a dry run of a later pass transfers every streamed block once") {
  Blocks blocks(7);
  for (const std::int64_t slots : {1, 2, 3}) {
    for (const std::int64_t resident : {0, 3, 7}) {
      CHECK(transfer_bytes(blocks, {.slots = slots, .resident = resident, .warm = true}) ==
            bytes_from(blocks, std::min<std::int64_t>(resident, 7)));
    }
  }
}

TEST_CASE("a dry run gives the same bytes when it collapses the loop over equal blocks") {
  for (const bool repeats : {true, false}) {
    for (const std::int64_t slots : {1, 2}) {
      Dry backend(Cpu().target());
      Dry whole(Cpu().target());
      Workspace workspace = Workspace::make_virtual();
      const std::vector<WeightBlock> same(9, WeightBlock({WeightPiece{1000, 256, {}}}));
      const WeightStreamOptions options{.slots = slots, .repeats = repeats, .warm = repeats};
      WeightStream<Dry> collapsed(backend, same, options, workspace.device, workspace.pinned);
      repeat(backend, 9, [&](std::int64_t block) { collapsed.acquire(block); });
      CHECK(backend.record().totals().transfer_bytes == 9000);
      WeightStream<Dry> turn_by_turn(whole, same, options, workspace.device, workspace.pinned);
      for (std::int64_t block = 0; block < 9; ++block) turn_by_turn.acquire(block);
      CHECK(whole.record().totals().transfer_bytes == 9000);
    }
  }
}

TEST_CASE("a dry run reads from the disk what the page cache does not keep") {
  Blocks blocks(6);
  const auto disk_bytes = [&](const WeightStreamOptions& options) {
    Dry backend(Cpu().target());
    Workspace workspace = Workspace::make_virtual();
    WeightStream<Dry> stream(backend, blocks, options, workspace.device, workspace.pinned);
    for (std::int64_t block = 0; block < blocks.size(); ++block) stream.acquire(block);
    return backend.record().totals().disk_bytes;
  };
  CHECK(disk_bytes({.repeats = false}) == bytes_from(blocks, 0));
  CHECK(disk_bytes({.warm = true}) == bytes_from(blocks, 0));
  CHECK(disk_bytes({.resident = 1, .warm = true}) == bytes_from(blocks, 1));
  CHECK(disk_bytes({.resident = 1, .cached = 2, .warm = true}) == bytes_from(blocks, 3));
  CHECK(disk_bytes({.resident = 1, .cached = 5, .warm = true}) == 0);
}

static_assert(HasByteTransfer<Cpu> && HasByteTransfer<Dry>);

}  // namespace
}  // namespace ltxmem
