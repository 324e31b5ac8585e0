// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/dry_run/record.hpp"

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using Cpu = CpuBackend<>;
using Dry = DryRunBackend<Cpu::Target>;

/// Nested steps with buffers of known sizes; the most device memory is alive in "block 1, second".
template <class Backend>
void work(Backend& backend, Workspace& workspace) {
  const auto outer = workspace.device.scope();
  workspace.device.take_bytes("x", 1000);
  workspace.host.take_bytes("latent", 300);
  for (std::int64_t block = 0; block < 2; ++block) {
    const Step step(backend, "block", block);
    const auto scope = workspace.device.scope();
    workspace.device.take_bytes("keys", 2000);
    {
      const Step inner(backend, "first");
      const auto here = workspace.device.scope();
      workspace.device.take_bytes("tile", 512);
      workspace.device.take_bytes("tile", 512);
    }
    {
      const Step inner(backend, "second");
      const auto here = workspace.device.scope();
      workspace.device.take_bytes("tile", 300);
      workspace.device.take_bytes("hidden", block == 0 ? 256 : 4000);
      workspace.device.take_bytes("tile", 300);
    }
  }
  const Step last(backend, "last");
  const auto pinned = workspace.pinned.scope();
  workspace.pinned.take_bytes("slot", 64);
}

std::string text(const MemoryPeak& peak) {
  std::string out =
      std::string(memory_space_name(peak.space)) + " " + std::to_string(peak.bytes) + " in '" + peak.step + "':";
  for (const BufferSum& buffer : peak.buffers) {
    out += " " + buffer.name + " " + std::to_string(buffer.bytes) + "/" + std::to_string(buffer.count);
  }
  return out;
}

}  // namespace

TEST_CASE("record: the peak of every space has its step and its buffers, those of one name together") {
  Dry dry;
  Workspace workspace = Workspace::make_virtual(dry.record());
  work(dry, workspace);
  const Record& record = dry.record();
  CHECK(text(record.peak(MemorySpace::device)) ==
        "device 8192 in 'block 1, second': hidden 4096/1 keys 2048/1 x 1024/1 tile 1024/2");
  CHECK(text(record.peak(MemorySpace::pinned)) == "pinned 256 in 'last': slot 256/1");
  CHECK(text(record.peak(MemorySpace::host)) == "host 512 in '': latent 512/1");
}

TEST_CASE("dry run: a step that begins after a stop request is refused") {
  std::stop_source stop;
  Dry dry({}, stop.get_token());
  Workspace workspace = Workspace::make_virtual(dry.record());
  CHECK_NOTHROW(work(dry, workspace));
  stop.request_stop();
  CHECK_THROWS_AS(work(dry, workspace), Cancelled);
}

TEST_CASE("record: its peaks are those of the arenas, and of a run in counted memory, to the byte") {
  Dry dry;
  Workspace planned = Workspace::make_virtual(dry.record());
  work(dry, planned);
  HostResource host;
  CountingResource counting(host);
  {
    Workspace real{{counting, planned.device.peak_bytes()},
                   {counting, planned.pinned.peak_bytes()},
                   {counting, planned.host.peak_bytes()}};
    Cpu cpu;
    work(cpu, real);
    CHECK(real.device.peak_bytes() == dry.record().peak_bytes(MemorySpace::device));
    CHECK(real.pinned.peak_bytes() == dry.record().peak_bytes(MemorySpace::pinned));
    CHECK(real.host.peak_bytes() == dry.record().peak_bytes(MemorySpace::host));
  }
  CHECK(counting.peak_bytes() == 8192 + 256 + 512);
}

TEST_CASE("record: a space that was never used has an empty peak") {
  const MemoryPeak peak = Record().peak(MemorySpace::pinned);
  CHECK(peak.bytes == 0);
  CHECK(peak.step.empty());
  CHECK(peak.buffers.empty());
}

TEST_CASE("record: buffers that no arena holds count as well") {
  Record record;
  record.taken(MemorySpace::host, "latent", 1000);
  Arena arena = Arena::make_virtual(MemorySpace::host, record);
  {
    const auto scope = arena.scope();
    arena.take_bytes("tile", 256);
  }
  record.released(MemorySpace::host, "latent", 1000);
  record.taken(MemorySpace::host, "frames", 1100);
  CHECK(text(record.peak(MemorySpace::host)) == "host 1256 in '': latent 1000/1 tile 256/1");
  CHECK(record.memory().size() == 5);
}

TEST_CASE("record: equal names at different addresses are one buffer") {
  const char one[] = "tile";
  const char two[] = "tile";
  Record record;
  record.taken(MemorySpace::device, one, 10);
  record.taken(MemorySpace::device, two, 10);
  CHECK(text(record.peak(MemorySpace::device)) == "device 20 in '': tile 20/2");
}

TEST_CASE("record: an arena that was moved keeps reporting, the one it came from is silent") {
  Record record;
  Arena first = Arena::make_virtual(MemorySpace::pinned, record);
  Arena second = std::move(first);
  second.take_bytes("slot", 256);
  CHECK(record.peak_bytes(MemorySpace::pinned) == 256);
  CHECK(record.memory().size() == 1);
}

TEST_CASE("record: totals multiply nested loops, by queue, and hold more flops than 2^63") {
  Record record;
  record.begin_repeated(1);
  record.begin_repeated(30);
  record.begin_repeated(48);
  record.add_compute("a", Arithmetic::bf16, std::int64_t{1} << 53, 3);
  record.add_transfer(WorkQueue::copy_in, "in", 5);
  record.add_transfer(WorkQueue::copy_out, "out", 7);
  record.add_transfer(WorkQueue::peer_in, "from a store", 17);
  record.add_transfer(WorkQueue::peer_out, "to a store", 19);
  record.end_repeated();
  record.add_transfer(WorkQueue::network, "message", 11);
  record.end_repeated();
  record.end_repeated();
  record.add_transfer(WorkQueue::disk, "read", 13);
  const Record::Totals totals = record.totals();
  CHECK(totals.operations == 1440);
  CHECK(totals.flops == 1440.0 * 9007199254740992.0);
  CHECK(totals.bytes == 1440 * 3);
  CHECK(totals.transfer_bytes == 1440 * 48);
  CHECK(totals.message_bytes == 30 * 11);
  CHECK(totals.disk_bytes == 13);
}

TEST_CASE("record: compute work is no transfer") {
  Record record;
  CHECK_THROWS_AS(record.add_transfer(WorkQueue::compute, "a", 1), Error);
}

TEST_CASE("record: a dry run says of each operation what arithmetic it does") {
  Dry dry;
  Arena arena = Arena::make_virtual();
  const auto x = arena.take<bfloat16, 2>("x", {4, 8});
  const auto y = arena.take<bfloat16, 2>("y", {4, 8});
  const auto wide = arena.take<float, 2>("wide", {4, 8});
  dry.norm<bfloat16>(x, {}, y);
  const TensorView<const bfloat16, 2> key(y);
  dry.attention_append<bfloat16>(
      {.q = x, .k = key, .v = key},
      {arena.take<float, 2>("a", {4, 8}), arena.take<float, 2>("m", {4, 1}), arena.take<float, 2>("s", {4, 1})}, arena);
  dry.copy<bfloat16, float>(x, wide);
  const auto& entries = dry.record().entries();
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].arithmetic == Arithmetic::vector);
  CHECK(entries[1].arithmetic == Arithmetic::bf16_attention);
  CHECK(entries[2].arithmetic == Arithmetic::vector);
  CHECK(matrix_arithmetic<float>() == Arithmetic::f32);
  CHECK(matrix_arithmetic<half>() == Arithmetic::f16);
  CHECK(attention_arithmetic<float>() == Arithmetic::f32_attention);
  CHECK(attention_arithmetic<half>() == Arithmetic::f16_attention);
}

// ------------------------------------------------------------------------------------------------- memory over time

TEST_CASE("memory over time: every column shows its fullest moment by buffer, the peak is in it") {
  Record record;
  const auto work_us = [&](std::int64_t time) { record.add_compute("work", Arithmetic::f32, time, 0); };
  record.taken(MemorySpace::device, "x", 100);
  work_us(10);
  record.taken(MemorySpace::device, "short", 50);
  work_us(1);
  record.released(MemorySpace::device, "short", 50);
  record.taken(MemorySpace::host, "elsewhere", 7);
  work_us(9);
  record.taken(MemorySpace::device, "y", 30);
  work_us(20);
  const DeviceProfile profile{.name = "slow", .f32_flops_per_s = 1e6};
  const Replay result = replay(record, profile);
  const MemorySeries series = memory_series(record, result, MemorySpace::device, 4);
  REQUIRE(series.buffers.size() == 3);
  CHECK(series.buffers[0].name == "x");
  CHECK(series.buffers[0].bytes == std::vector<std::size_t>{100, 100, 100, 100});
  CHECK(series.buffers[1].name == "short");
  CHECK(series.buffers[1].bytes == std::vector<std::size_t>{0, 50, 0, 0});
  CHECK(series.buffers[2].bytes == std::vector<std::size_t>{0, 0, 30, 30});
  CHECK(series.seconds.back() == Approx(40e-6));
  CHECK_THROWS_AS(memory_series(record, result, MemorySpace::device, 0), ShapeError);
}

TEST_CASE("memory over time: a collapsed loop spans the time of all its turns") {
  Dry dry;
  Arena arena = Arena::make_virtual(MemorySpace::device, dry.record());
  repeat(dry, 100, [&](std::int64_t) {
    const auto scope = arena.scope();
    dry.record().add_compute("a", Arithmetic::f32, 1, 0);
    arena.take_bytes("tile", 256);
    dry.record().add_compute("b", Arithmetic::f32, 1, 0);
  });
  const Replay result = replay(dry.record(), {.name = "slow", .f32_flops_per_s = 1e6});
  CHECK(result.seconds == Approx(200e-6));
  REQUIRE(result.item_seconds.size() == dry.record().timeline().size() + 1);
  double before = 0;
  for (const double at : result.item_seconds) {
    CHECK(at >= before);
    before = at;
  }
  const MemorySeries series = memory_series(dry.record(), result, MemorySpace::device, 20);
  REQUIRE(series.buffers.size() == 1);
  CHECK(series.buffers[0].bytes[4] == 0);
  CHECK(series.buffers[0].bytes[15] == 256);
}

}  // namespace ltxmem
