// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/dry_run/replay.hpp"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/stores/host_row_store.hpp"
#include "support/catch.hpp"

namespace ltxmem {
namespace {

using Target = CpuBackend<>::Target;
using Dry = DryRunBackend<Target>;

/// Records every turn of every loop.
struct Unrolled : Dry {
  bool collapses_loops() const noexcept { return false; }
};

/// 1 flop or byte = 1 microsecond, so that expectations can be written down.
DeviceProfile slow_machine() {
  return {.name = "slow",
          .source = "test",
          .memory_bytes = 1,
          .f32_flops_per_s = 1e6,
          .bf16_flops_per_s = 2e6,
          .f16_flops_per_s = 4e6,
          .f8_flops_per_s = 8e6,
          .f32_attention_flops_per_s = 2.5e5,
          .bf16_attention_flops_per_s = 4e5,
          .f16_attention_flops_per_s = 5e6,
          .vector_flops_per_s = 5e5,
          .memory_bytes_per_s = 1e6,
          .link_in_bytes_per_s = 1e6,
          .link_out_bytes_per_s = 1e6,
          .network_bytes_per_s = 1e6,
          .disk_bytes_per_s = 1e6};
}

double us(double seconds) {
  return std::round(seconds * 1e9) / 1e3;
}

void compute(Record& record, std::int64_t flops) {
  record.add_compute("work", Arithmetic::f32, flops, 0);
}

/// The definition, without loops: the end of everything follows from the ends of what it comes after, again and again
/// until nothing moves.
std::int64_t definition_ns(const Record& record, const DeviceProfile& profile) {
  REQUIRE(record.regions().empty());
  struct Job {
    std::int64_t time;
    std::vector<std::size_t> after;
    std::int64_t end = 0;
  };
  std::vector<Job> jobs;
  std::vector<std::size_t> job_of(record.entries().size());
  std::vector<std::vector<std::size_t>> last(work_queues.size());
  std::vector<std::size_t> barrier;  // what compute work from here on waits for
  for (const Record::Item& item : record.timeline()) {
    if (item.kind == Record::Item::Kind::wait) {
      barrier.push_back(job_of[item.index]);
      continue;
    }
    const Record::Entry& entry = record.entries()[item.index];
    const auto queue = static_cast<std::size_t>(entry.queue);
    Job job{0, last[queue]};
    const bool is_compute = entry.queue == WorkQueue::compute;
    const double rate = is_compute ? profile.flops_per_s(entry.arithmetic) : profile.bytes_per_s(entry.queue);
    const auto amount = static_cast<double>(is_compute ? entry.flops : entry.bytes);
    job.time = std::max<std::int64_t>(1, std::llround(1e9 * amount / rate));
    if (is_compute || entry.after_compute) {
      job.after.insert(job.after.end(), last[0].begin(), last[0].end());
      job.after.insert(job.after.end(), barrier.begin(), barrier.end());
    }
    if (entry.after != Record::none) job.after.push_back(job_of[entry.after]);
    job_of[item.index] = jobs.size();
    last[queue] = {jobs.size()};
    if (is_compute) barrier.clear();
    jobs.push_back(job);
  }
  std::int64_t end = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = jobs.size(); i-- > 0;) {
      std::int64_t start = 0;
      for (const std::size_t before : jobs[i].after) start = std::max(start, jobs[before].end);
      moved = moved || jobs[i].end != start + jobs[i].time;
      jobs[i].end = start + jobs[i].time;
      end = std::max(end, jobs[i].end);
    }
  }
  return end;
}

/// Both replays say the same, in all they say.
void check_same(const Replay& collapsed, const Replay& unrolled) {
  CHECK(collapsed.seconds == Approx(unrolled.seconds).epsilon(1e-12));
  CHECK(collapsed.exposed_seconds == Approx(unrolled.exposed_seconds).epsilon(1e-12));
  for (const WorkQueue queue : work_queues) {
    CHECK(collapsed.queue(queue).busy_seconds == Approx(unrolled.queue(queue).busy_seconds).epsilon(1e-12));
    CHECK(collapsed.queue(queue).idle_seconds == Approx(unrolled.queue(queue).idle_seconds).epsilon(1e-12));
  }
  REQUIRE(collapsed.steps.size() == unrolled.steps.size());
  for (std::size_t i = 0; i < collapsed.steps.size(); ++i) {
    CHECK(collapsed.steps[i].path == unrolled.steps[i].path);
    for (std::size_t bound = 0; bound < bounds.size(); ++bound) {
      CHECK(collapsed.steps[i].seconds_by_bound[bound] ==
            Approx(unrolled.steps[i].seconds_by_bound[bound]).epsilon(1e-12));
    }
  }
}

}  // namespace

TEST_CASE("replay: an empty record takes no time") {
  const Replay result = replay(Record(), slow_machine());
  CHECK(result.seconds == 0);
  CHECK(result.steps.empty());
}

TEST_CASE("replay: operations follow each other, each bound by arithmetic or by memory, after its latency") {
  Record record;
  record.add_compute("a", Arithmetic::f32, 10, 3);
  record.add_compute("b", Arithmetic::bf16, 10, 30);
  record.add_compute("c", Arithmetic::f8, 80, 0);
  record.add_compute("d", Arithmetic::vector, 10, 0);
  DeviceProfile profile = slow_machine();
  CHECK(us(replay(record, profile).seconds) == 10 + 30 + 10 + 20);
  profile.operation_latency_s = 7e-6;
  CHECK(us(replay(record, profile).seconds) == 10 + 30 + 10 + 20 + 4 * 7);
  profile.memory_fraction = 0.5;
  profile.matrix_fraction = 0.1;
  CHECK(us(replay(record, profile).seconds) == 100 + 60 + 100 + 40 + 4 * 7);
}

TEST_CASE("replay: attention has a rate of its own in every type, of which programs reach the fraction of products") {
  Record record;
  record.add_compute("a", Arithmetic::f32_attention, 10, 3);
  record.add_compute("b", Arithmetic::bf16_attention, 10, 3);
  record.add_compute("c", Arithmetic::f16_attention, 10, 0);
  DeviceProfile profile = slow_machine();
  CHECK(us(replay(record, profile).seconds) == 40 + 25 + 2);
  profile.matrix_fraction = 0.5;
  CHECK(us(replay(record, profile).seconds) == 80 + 50 + 4);
}

TEST_CASE("replay: a transfer runs beside later work, and only what is waited for is exposed") {
  Record record;
  compute(record, 10);
  const Record::Event event = record.add_transfer(WorkQueue::copy_in, "copy", 50);
  compute(record, 20);
  record.enter_step("after", 3);
  record.wait(event);
  compute(record, 5);
  record.leave_step();
  const Replay result = replay(record, slow_machine());
  CHECK(us(result.seconds) == 10 + 50 + 5);
  CHECK(us(result.exposed_seconds) == 30);
  CHECK(us(result.queue(WorkQueue::compute).busy_seconds) == 35);
  CHECK(us(result.queue(WorkQueue::compute).idle_seconds) == 30);
  CHECK(us(result.queue(WorkQueue::copy_in).busy_seconds) == 50);
  REQUIRE(result.steps.size() == 2);
  CHECK(result.steps[1].path == "after");
  CHECK(us(result.steps[1].seconds()) == 35);
  CHECK(result.steps[1].bound() == Bound::copy_in);
  CHECK(result.steps[0].bound() == Bound::compute);
}

TEST_CASE("replay: a queue keeps its order, the two directions run beside each other") {
  Record record;
  record.add_transfer(WorkQueue::copy_in, "a", 10);
  record.add_transfer(WorkQueue::copy_in, "b", 10);
  record.add_transfer(WorkQueue::copy_out, "c", 15);
  CHECK(us(replay(record, slow_machine()).seconds) == 20);
}

TEST_CASE("replay: what nobody waits for still has to end, and is exposed") {
  Record record;
  compute(record, 5);
  record.add_transfer(WorkQueue::network, "message", 40);
  const Replay result = replay(record, slow_machine());
  CHECK(us(result.seconds) == 45);
  CHECK(us(result.exposed_seconds) == 40);
  CHECK(result.steps.at(0).bound() == Bound::network);
}

TEST_CASE("replay: other devices' memory is reached at the network's rate, in both directions at once") {
  DeviceProfile profile = slow_machine();
  profile.network_bytes_per_s = profile.link_in_bytes_per_s / 2;
  Record record;
  record.wait(record.add_transfer(WorkQueue::copy_in, "in", 10));
  const auto in = record.add_transfer(WorkQueue::peer_in, "from a store", 10, {.after_compute = false});
  const auto out = record.add_transfer(WorkQueue::peer_out, "to a store", 30, {.after_compute = false});
  record.wait(in);
  record.wait(out);
  const Replay result = replay(record, profile);
  CHECK(us(result.seconds) == 60);
  CHECK(us(result.queue(WorkQueue::peer_in).busy_seconds) == 20);
  CHECK(us(result.queue(WorkQueue::peer_out).busy_seconds) == 60);
  CHECK(result.steps.at(0).bound() == Bound::peer_out);
}

TEST_CASE("replay: a read of a file need not wait for compute work, and a copy may wait for the read") {
  Record record;
  compute(record, 100);
  const auto read = record.add_transfer(WorkQueue::disk, "read", 30, {.after_compute = false});
  const auto copy = record.add_transfer(WorkQueue::copy_in, "copy", 10, {.after_compute = false, .after = read});
  record.wait(copy);
  compute(record, 1);
  CHECK(us(replay(record, slow_machine()).seconds) == 101);
  record.wait(record.add_transfer(WorkQueue::copy_in, "late", 10));
  CHECK(us(replay(record, slow_machine()).seconds) == 111);
}

TEST_CASE("replay: waiting for nothing takes no time") {
  Record record;
  record.wait({});
  compute(record, 4);
  CHECK(us(replay(record, slow_machine()).seconds) == 4);
}

TEST_CASE("replay: a profile without a rate that is needed is refused by name") {
  Record record;
  compute(record, 4);
  DeviceProfile profile = slow_machine();
  profile.f32_flops_per_s = 0;
  CHECK_THROWS_WITH(replay(record, profile), Catch::Contains("slow"));
}

// ---------------------------------------------------------------------------------------------------- collapsed loops

namespace {

/// Rows in host memory pass through two slots, are worked on and go back: the pattern of the streamed schemes.
template <class Backend>
Replay stream_rows(const DeviceProfile& profile, std::int64_t rows, std::int64_t tile, bool writes,
                   std::int64_t flops) {
  Backend backend;
  Workspace workspace = Workspace::make_virtual(backend.record());
  const auto memory = workspace.pinned.take<float, 2>("rows", {rows, 4});
  {
    HostRowStore<float, Backend> store(backend, memory, workspace.device, tile);
    for_each_tile(backend, rows, tile, [&](std::int64_t begin, std::int64_t count) {
      const Step step(backend, "tile", begin / tile);
      store.load(backend, begin, count);
      const std::int64_t next = begin + count;
      if (writes) store.stage(backend, begin, count);
      if (next < rows) store.prefetch(backend, next, std::min(tile, rows - next));
      backend.record().add_compute("work", Arithmetic::f32, flops * count, 0);
      if (writes) store.store(backend, begin, count);
    });
  }
  return replay(backend.record(), profile);
}

template <class Backend>
Replay fill_rows(const DeviceProfile& profile, std::int64_t rows, std::int64_t tile, std::int64_t flops) {
  Backend backend;
  Workspace workspace = Workspace::make_virtual(backend.record());
  const auto memory = workspace.pinned.take<float, 2>("rows", {rows, 4});
  {
    HostRowStore<float, Backend> store(backend, memory, workspace.device, tile);
    for_each_tile(backend, rows, tile, [&](std::int64_t begin, std::int64_t count) {
      store.stage(backend, begin, count);
      backend.record().add_compute("work", Arithmetic::f32, flops * count, 0);
      store.store(backend, begin, count);
    });
  }
  return replay(backend.record(), profile);
}

}  // namespace

TEST_CASE("replay: a double-buffered host store takes the same time collapsed and turn by turn") {
  for (const std::int64_t rows : {1, 40, 50, 60, 70, 700, 703, 7001}) {
    for (const std::int64_t flops : {1, 15, 16, 17, 31, 33, 100}) {
      for (const bool writes : {false, true}) {
        CAPTURE(rows, flops, writes);
        check_same(stream_rows<Dry>(slow_machine(), rows, 10, writes, flops),
                   stream_rows<Unrolled>(slow_machine(), rows, 10, writes, flops));
      }
    }
  }
}

TEST_CASE("replay: a host store that is only written waits for its slots, collapsed as turn by turn") {
  for (const std::int64_t rows : {1, 40, 60, 703, 7001}) {
    for (const std::int64_t flops : {1, 15, 16, 17, 100}) {
      CAPTURE(rows, flops);
      check_same(fill_rows<Dry>(slow_machine(), rows, 10, flops), fill_rows<Unrolled>(slow_machine(), rows, 10, flops));
    }
  }
}

TEST_CASE("replay: the slower of link and work sets the pace of a pipeline") {
  const std::int64_t rows = 1000;
  const double link = static_cast<double>(rows * 16);
  CHECK(us(stream_rows<Dry>(slow_machine(), rows, 10, false, 1).seconds) == link + 10);
  const Replay computing = stream_rows<Dry>(slow_machine(), rows, 10, false, 100);
  CHECK(us(computing.seconds) == static_cast<double>(rows * 100) + 160);
  CHECK(us(computing.exposed_seconds) == 160);
  CHECK(computing.steps.at(0).bound() == Bound::compute);
  CHECK(stream_rows<Dry>(slow_machine(), rows, 10, false, 1).steps.at(0).bound() == Bound::copy_in);
}

namespace {

/// A program made from a seed: nested loops with work, and copies that are issued some turns before they are waited
/// for.
class RandomProgram {
 public:
  explicit RandomProgram(std::uint32_t seed, std::int64_t longest) : seed_(seed), longest_(longest) {}

  template <class Backend>
  void operator()(Backend& backend) const {
    std::mt19937 random(seed_);
    body(backend, draw(random), 0);
  }

 private:
  static std::uint32_t draw(std::mt19937& random) { return static_cast<std::uint32_t>(random()); }

  template <class Backend>
  void body(Backend& backend, std::uint32_t seed, int depth) const {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t end) { return static_cast<std::int64_t>(draw(random) % end); };
    const std::int64_t parts = 1 + below(3);
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::uint32_t inner = draw(random);
      if (depth < 3 && below(3) != 0) {
        loop(backend, inner, depth);
      } else {
        backend.record().add_compute("work", Arithmetic::f32, 1 + below(40), 0);
      }
    }
  }

  template <class Backend>
  void loop(Backend& backend, std::uint32_t seed, int depth) const {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t end) { return static_cast<std::int64_t>(draw(random) % end); };
    const std::int64_t turns = 1 + below(static_cast<std::uint32_t>(longest_));
    const std::int64_t ahead = below(4);
    const WorkQueue queue = work_queues[static_cast<std::size_t>(1 + below(4))];
    const std::int64_t bytes = 1 + below(60);
    const std::int64_t unawaited = below(4) == 0 ? 1 + below(30) : 0;
    const Record::TransferOrder order{.after_compute = below(3) != 0};
    const std::uint32_t inner = draw(random);
    std::deque<Record::Event> coming;
    const auto bring = [&] { coming.push_back(backend.record().add_transfer(queue, "bring", bytes, order)); };
    for (std::int64_t i = 0; i < ahead && (i < turns || ahead == 3); ++i) bring();
    repeat(backend, turns, [&](std::int64_t i) {
      const Step step(backend, "turn", i);
      // Three turns ahead is more than a collapsed loop shows at its end: the last turns bring what nobody needs.
      if (i + ahead < turns || ahead == 3) bring();
      backend.record().wait(coming.front());
      coming.pop_front();
      body(backend, inner, depth + 1);
      if (unawaited > 0) backend.record().add_transfer(WorkQueue::copy_out, "send", unawaited);
    });
  }

  std::uint32_t seed_;
  std::int64_t longest_;
};

}  // namespace

TEST_CASE("replay: random programs take the time that the definition gives") {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    Unrolled backend;
    RandomProgram(seed, 6)(backend);
    CAPTURE(seed);
    REQUIRE(std::llround(replay(backend.record(), slow_machine()).seconds * 1e9) ==
            definition_ns(backend.record(), slow_machine()));
  }
}

TEST_CASE("replay: random programs of nested loops take the same time collapsed and turn by turn") {
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    Dry collapsed;
    Unrolled unrolled;
    RandomProgram(seed, 16)(collapsed);
    RandomProgram(seed, 16)(unrolled);
    CAPTURE(seed);
    check_same(replay(collapsed.record(), slow_machine()), replay(unrolled.record(), slow_machine()));
  }
}

TEST_CASE("replay: a loop is not taken for steady while it lives on what came before it") {
  // Five transfers are there early; the first one of the loop is long, and the wait for it comes five turns later.
  const auto program = [](Record& record, bool collapsed) {
    std::deque<Record::Event> coming;
    const auto bring = [&](std::int64_t bytes) {
      coming.push_back(record.add_transfer(WorkQueue::copy_in, "bring", bytes, {.after_compute = false}));
    };
    const auto turn = [&](std::int64_t bytes) {
      bring(bytes);
      record.wait(coming.front());
      coming.pop_front();
      compute(record, 10);
    };
    for (int i = 0; i < 5; ++i) bring(1);
    record.begin_repeated(1);
    turn(1000);
    turn(10);
    if (collapsed) record.begin_repeated(20);
    for (int i = 0; i < (collapsed ? 1 : 20); ++i) turn(10);
    if (collapsed) record.end_repeated();
    record.end_repeated();
    compute(record, 5000);  // long after the last transfer, so that a stall that was missed shows
  };
  Record collapsed;
  Record unrolled;
  program(collapsed, true);
  program(unrolled, false);
  const Replay expected = replay(unrolled, slow_machine());
  CHECK(us(expected.exposed_seconds) > 900);
  check_same(replay(collapsed, slow_machine()), expected);
}

TEST_CASE("replay: a guided run of the whole model replays in well under a second") {
  // Steps, passes, blocks, tiles of queries, tiles of keys: 48 x 30 x 4 x 150 x 75 turns of the innermost loop.
  Dry backend;
  const auto started = std::chrono::steady_clock::now();
  const auto work = [&](std::int64_t flops) {
    for (int i = 0; i < 8; ++i) backend.record().add_compute("work", Arithmetic::bf16, flops, 0);
  };
  Workspace workspace = Workspace::make_virtual(backend.record());
  const auto keys = workspace.pinned.take<bfloat16, 2>("keys", {614400, 4096});
  HostRowStore<bfloat16, Dry> store(backend, keys, workspace.device, 8192);
  repeat(backend, 30, [&](std::int64_t index) {
    const Step step(backend, "step", index);
    for (std::int64_t pass = 0; pass < 4; ++pass) {
      repeat(backend, 48, [&](std::int64_t block) {
        const Step inner(backend, "block", block);
        for_each_tile(backend, 614400, 4096, [&](std::int64_t, std::int64_t count) {
          const Step tile(backend, "queries");
          const auto scope = workspace.device.scope();
          workspace.device.take<bfloat16, 2>("queries", {count, 4096});
          work(count * 100000000);
          for_each_tile(backend, 614400, 8192, [&](std::int64_t begin, std::int64_t rows) {
            const auto loaded = store.load(backend, begin, rows);
            const std::int64_t next = begin + rows < 614400 ? begin + rows : 0;
            store.prefetch(backend, next, std::min<std::int64_t>(8192, 614400 - next));
            backend.record().add_compute("attention", Arithmetic::bf16, 4 * count * rows * 4096, loaded.size());
          });
          work(count * 500000000);
        });
      });
    }
  });
  store.finish();
  const Replay result = replay(backend.record(), *find_device_profile("rtx4090"));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  INFO(backend.record().entries().size() << " entries, " << seconds << " s, predicted " << result.seconds << " s");
  CHECK(seconds < 1.0);
  const double least = backend.record().totals().flops / (165.2e12 * 0.7);
  CHECK(result.seconds >= least);
  CHECK(result.seconds < 1.1 * least);
  CHECK(backend.record().entries().size() + backend.record().memory().size() < 200000);
}

}  // namespace ltxmem
