// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "ltxmem/backend/dry_run/bound.hpp"
#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/backend/dry_run/record.hpp"
#include "ltxmem/core/error.hpp"

/// The simulation behind replay().

namespace ltxmem::detail {

/// Plays a record. In-order queues whose dependencies all point backwards need no event list: one pass in recorded
/// order knows every start. Time is whole nanoseconds, so that a steady loop is recognised by equality.
///
/// A wait names a recorded transfer, but inside a loop it means a turn. Transfers of a queue are numbered in recorded
/// order. In the n-th repetition of a region with m transfers of that queue, what was recorded d transfers before the
/// wait is d transfers before it in the sequence in which the region stands n + 1 times; see finish_of().
class Replayer {
 public:
  Replayer(const Record& record, const DeviceProfile& profile)
      : record_(record),
        items_(record.timeline()),
        ordinal_(record.entries().size()),
        place_(record.entries().size()),
        owner_(record.entries().size(), none),
        time_(record.entries().size()),
        bound_(record.entries().size(), Bound::compute),
        step_time_(record.steps().size()),
        regions_(record.regions().size()),
        item_time_(items_.size() + 1),
        ends_(record.entries().size()) {
    price(profile);
    number();
  }

  void run() {
    play(0, items_.size());
    item_time_.back() = static_cast<double>(compute_);
    end_ = compute_;
    for (const Time ready : ready_) end_ = std::max(end_, ready);
    // Transfers that nobody waited for still have to end.
    if (end_ > compute_) {
      const auto last = static_cast<std::size_t>(std::max_element(ready_.begin(), ready_.end()) - ready_.begin());
      stall(0, static_cast<WorkQueue>(last), end_);
      item_time_.back() = static_cast<double>(end_);
    }
  }

  double end_seconds() const noexcept { return seconds(end_); }
  double exposed_seconds() const noexcept { return seconds(exposed_); }
  double busy_seconds(WorkQueue queue) const noexcept { return seconds(busy_[index(queue)]); }
  std::array<double, bounds.size()> step_seconds(std::size_t step) const noexcept {
    std::array<double, bounds.size()> result{};
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = seconds(step_time_[step][i]);
    return result;
  }
  std::vector<double> item_seconds() const {
    std::vector<double> result;
    for (const double time : item_time_) result.push_back(1e-9 * time);
    return result;
  }

 private:
  using Time = std::int64_t;  ///< ns
  using StepTime = std::array<Time, bounds.size()>;
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  static constexpr std::size_t queue_count = work_queues.size();
  static constexpr std::size_t depth = 8;       ///< turns after which the end of a transfer is forgotten
  static constexpr std::size_t max_period = 4;  ///< turns after which a steady loop may repeat itself

  /// Ends of the latest executions of a transfer, the latest first.
  using Ends = std::array<Time, depth>;

  struct Region {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::int64_t times = 1;
    std::array<std::int64_t, queue_count> first{};  ///< ordinal of its first transfer
    std::array<std::int64_t, queue_count> count{};
    std::array<bool, queue_count> awaited{};  ///< something in it waits for transfers of the queue
    std::vector<std::uint32_t> entries;       ///< its transfers
    std::vector<std::uint32_t> steps;         ///< steps that its items belong to
    std::size_t reach = 0;                    ///< the oldest turn that waits in it have looked at
  };

  struct Active {
    std::size_t region;
    std::int64_t turn = 0;
    std::size_t done = none;  ///< the repeated region within it that ended last
    bool outside = false;     ///< this turn depends on something that is no turn of it
  };

  /// All that later turns depend on, and what a turn adds to the sums.
  struct Snapshot {
    Time compute = 0;
    std::array<Time, queue_count> ready{};
    std::array<Time, queue_count> busy{};
    Time exposed = 0;
    std::vector<Ends> ends;
    std::vector<StepTime> step_time;
    bool outside = false;
  };

  static std::size_t index(WorkQueue queue) noexcept { return static_cast<std::size_t>(queue); }
  static double seconds(Time time) noexcept { return 1e-9 * static_cast<double>(time); }
  static Bound waiting_for(WorkQueue queue) noexcept {
    constexpr std::size_t first = static_cast<std::size_t>(Bound::copy_in) - 1;
    return static_cast<Bound>(first + index(queue));
  }

  // -------------------------------------------------------------------------------------------------- preparation

  void price(const DeviceProfile& profile) {
    const auto take = [&](double amount, double rate, const char* what) {
      if (amount <= 0) return 0.0;
      expects<Error>(rate > 0, "replay on ", profile.name, ": the profile has no rate for ", what);
      return amount / rate;
    };
    for (std::size_t i = 0; i < time_.size(); ++i) {
      const Record::Entry& entry = record_.entries()[i];
      const bool is_compute = entry.queue == WorkQueue::compute;
      const double arithmetic =
          take(static_cast<double>(entry.flops), profile.flops_per_s(entry.arithmetic), "its arithmetic");
      const double traffic = take(static_cast<double>(entry.bytes), profile.bytes_per_s(entry.queue), "its bytes");
      const double latency = is_compute ? profile.operation_latency_s : profile.transfer_latency_s;
      const double work = std::max(arithmetic, traffic);
      bound_[i] = latency > work ? Bound::latency : arithmetic >= traffic ? Bound::compute : Bound::memory;
      time_[i] = std::max<Time>(1, std::llround(1e9 * (latency + work)));
    }
  }

  void number() {
    std::array<std::int64_t, queue_count> next{};
    std::vector<std::size_t> open;
    std::size_t repeated = none;
    std::vector<std::size_t> outer;
    for (std::size_t at = 0; at < items_.size(); ++at) {
      const Record::Item& item = items_[at];
      switch (item.kind) {
        case Record::Item::Kind::begin: {
          const Record::Region& source = record_.regions()[item.index];
          Region& region = regions_[item.index];
          region.begin = source.begin;
          region.end = source.end;
          region.times = source.times;
          region.first = next;
          open.push_back(item.index);
          outer.push_back(repeated);
          if (region.times > 1) repeated = item.index;
          break;
        }
        case Record::Item::Kind::end: {
          Region& region = regions_[item.index];
          for (std::size_t queue = 0; queue < queue_count; ++queue) {
            region.count[queue] = next[queue] - region.first[queue];
          }
          std::sort(region.steps.begin(), region.steps.end());
          region.steps.erase(std::unique(region.steps.begin(), region.steps.end()), region.steps.end());
          open.pop_back();
          repeated = outer.back();
          outer.pop_back();
          break;
        }
        case Record::Item::Kind::wait:
          await(open, item.index);
          note_step(open, item.step);
          break;
        case Record::Item::Kind::entry: {
          const Record::Entry& entry = record_.entries()[item.index];
          note_step(open, item.step);
          place_[item.index] = at;
          if (entry.queue == WorkQueue::compute) break;
          owner_[item.index] = repeated;
          ordinal_[item.index] = next[index(entry.queue)]++;
          of_queue_[index(entry.queue)].push_back(item.index);
          if (entry.after != Record::none) await(open, entry.after);
          for (const std::size_t region : open) {
            if (regions_[region].times > 1) regions_[region].entries.push_back(item.index);
          }
          break;
        }
      }
    }
  }

  void await(const std::vector<std::size_t>& open, std::uint32_t entry) {
    for (const std::size_t region : open) regions_[region].awaited[index(record_.entries()[entry].queue)] = true;
  }
  void note_step(const std::vector<std::size_t>& open, std::uint32_t step) {
    for (const std::size_t region : open) {
      std::vector<std::uint32_t>& steps = regions_[region].steps;
      if (steps.empty() || steps.back() != step) steps.push_back(step);
    }
  }

  // ------------------------------------------------------------------------------------------------------ playing

  void play(std::size_t begin, std::size_t end) {
    for (std::size_t at = begin; at < end; ++at) {
      if (is_first_) item_time_[at] = static_cast<double>(compute_);
      const Record::Item& item = items_[at];
      switch (item.kind) {
        case Record::Item::Kind::begin:
          play_region(item.index);
          at = regions_[item.index].end;
          if (is_first_) item_time_[at] = static_cast<double>(compute_);
          break;
        case Record::Item::Kind::end: break;
        case Record::Item::Kind::wait: {
          stall(item.step, record_.entries()[item.index].queue, finish_of(item.index, at, compute_));
          break;
        }
        case Record::Item::Kind::entry: play_entry(item, at); break;
      }
    }
  }

  void stall(std::size_t step, WorkQueue queue, Time until) {
    if (until <= compute_) return;
    step_time_[step][static_cast<std::size_t>(waiting_for(queue))] += until - compute_;
    exposed_ += until - compute_;
    compute_ = until;
  }

  void play_entry(const Record::Item& item, std::size_t at) {
    const Record::Entry& entry = record_.entries()[item.index];
    const Time time = time_[item.index];
    busy_[index(entry.queue)] += time;
    if (entry.queue == WorkQueue::compute) {
      step_time_[item.step][static_cast<std::size_t>(bound_[item.index])] += time;
      compute_ += time;
      return;
    }
    Time& ready = ready_[index(entry.queue)];
    if (entry.after_compute) ready = std::max(ready, compute_);
    if (entry.after != Record::none) ready = std::max(ready, finish_of(entry.after, at, ready));
    ready += time;
    Ends& ends = ends_[item.index];
    std::copy_backward(ends.begin(), ends.end() - 1, ends.end());
    ends[0] = ready;
  }

  /// When the transfer meant by a wait at item `at` ends. What is in the way of something later than `now` is noted.
  Time finish_of(std::uint32_t waited, std::size_t at, Time now) {
    const std::size_t queue = index(record_.entries()[waited].queue);
    const std::vector<std::uint32_t>& entries = of_queue_[queue];
    if (record_.entries()[waited].queue == WorkQueue::compute) return 0;
    std::int64_t ordinal = ordinal_[waited];
    std::size_t level = active_.size();
    std::size_t age = 0;
    for (; level > 0; --level) {
      Active& active = active_[level - 1];
      const Region& region = regions_[active.region];
      const std::int64_t count = region.count[queue];
      if (ordinal >= region.first[queue]) {
        // Of this turn. In the last turns of a loop, the first ones are as many turns ago as they were recorded.
        if (active.done != none && region.times == 1) {
          const Region& done = regions_[active.done];
          const std::int64_t inside = done.count[queue];
          const std::int64_t behind = done.first[queue] - ordinal;
          if (behind > 0 && inside > 0 && behind <= (done.times - 1) * inside) {
            const std::int64_t turn = done.times - 1 - (behind + inside - 1) / inside;
            ordinal = done.first[queue] + (inside - 1 - (behind - 1) % inside);
            age = static_cast<std::size_t>(done.times - 1 - turn);
          }
        }
        break;
      }
      if (active.turn > 0 && count > 0) {
        const std::int64_t behind = region.first[queue] - ordinal;  // transfers before the region, in its first turn
        if (behind <= active.turn * count) {
          const std::int64_t turns = (behind + count - 1) / count;
          ordinal = region.first[queue] + (count - 1 - (behind - 1) % count);
          const bool is_past = place_[entries[static_cast<std::size_t>(ordinal)]] < at;  // played in this turn as well
          age = static_cast<std::size_t>(turns - (is_past ? 0 : 1));
          regions_[active.region].reach = std::max(regions_[active.region].reach, std::min(age, depth - 1));
          break;
        }
        ordinal += active.turn * count;
      }
    }
    const Time end = ends_[entries[static_cast<std::size_t>(ordinal)]][std::min(age, depth - 1)];
    for (std::size_t inner = active_.size(); inner > level; --inner) {
      Active& active = active_[inner - 1];
      active.outside = active.outside || end > now || regions_[active.region].count[queue] > 0;
    }
    return end;
  }

  // -------------------------------------------------------------------------------------------------------- loops

  void play_region(std::size_t which) {
    Region& region = regions_[which];
    const bool was_first = is_first_;
    const Time began = compute_;
    Time first_turn_ended = began;
    active_.push_back({which});
    std::vector<Snapshot> past;  // of the last turns, the latest at the back
    for (std::int64_t turn = 0; turn < region.times; ++turn) {
      active_.back().turn = turn;
      active_.back().outside = false;
      play(region.begin, region.end);
      if (turn == 0) first_turn_ended = compute_;
      is_first_ = false;
      const std::int64_t left = region.times - 1 - turn;
      if (region.times <= 2 || left == 0) continue;
      past.push_back(snapshot(region));
      if (past.size() > max_period + 1) past.erase(past.begin());
      if (const std::size_t period = steady_period(region, past); period > 0) {
        const std::int64_t jumps = left / static_cast<std::int64_t>(period);
        if (jumps == 0) continue;
        jump(which, past, period, jumps);
        turn += jumps * static_cast<std::int64_t>(period);
        past.clear();
      }
    }
    active_.pop_back();
    is_first_ = was_first;
    if (region.times == 1) return;
    if (!active_.empty()) active_.back().done = which;
    if (is_first_ && first_turn_ended > began) {
      const double stretch = static_cast<double>(compute_ - began) / static_cast<double>(first_turn_ended - began);
      const double origin = static_cast<double>(began);
      for (std::size_t at = region.begin; at < region.end; ++at) {
        item_time_[at] = origin + (item_time_[at] - origin) * stretch;
      }
    }
  }

  Snapshot snapshot(const Region& region) const {
    Snapshot now{compute_, ready_, busy_, exposed_, {}, {}, active_.back().outside};
    now.ends.reserve(region.entries.size());
    for (const std::uint32_t entry : region.entries) now.ends.push_back(ends_[entry]);
    now.step_time.reserve(region.steps.size());
    for (const std::uint32_t step : region.steps) now.step_time.push_back(step_time_[step]);
    return now;
  }

  /// After how many turns everything is as it was but for a shift in time; 0: not yet. Then it stays so: all a turn
  /// does with times is to take maxima and to add.
  std::size_t steady_period(const Region& region, const std::vector<Snapshot>& past) const {
    const Snapshot& now = past.back();
    for (std::size_t period = 1; period < past.size(); ++period) {
      if (std::any_of(past.end() - static_cast<std::ptrdiff_t>(period), past.end(),
                      [](const Snapshot& turn) { return turn.outside; })) {
        return 0;
      }
      const Snapshot& then = past[past.size() - 1 - period];
      if (is_shifted(region, then, now)) return period;
    }
    return 0;
  }

  bool is_shifted(const Region& region, const Snapshot& then, const Snapshot& now) const {
    const Time shift = now.compute - then.compute;
    std::array<bool, queue_count> runs_behind{};
    for (std::size_t queue = 1; queue < queue_count; ++queue) {
      if (region.count[queue] == 0) continue;
      const Time moved = now.ready[queue] - then.ready[queue];
      if (moved == shift) continue;
      // A queue that nobody waits for may fall behind, once it no longer stands still in between.
      runs_behind[queue] = !region.awaited[queue] && moved > shift && moved == now.busy[queue] - then.busy[queue];
      if (!runs_behind[queue]) return false;
    }
    for (std::size_t i = 0; i < region.entries.size(); ++i) {
      if (runs_behind[index(record_.entries()[region.entries[i]].queue)]) continue;
      for (std::size_t age = 0; age <= region.reach; ++age) {
        if (now.ends[i][age] - then.ends[i][age] != shift) return false;
      }
    }
    return true;
  }

  /// Moves on by `jumps` periods at once.
  void jump(std::size_t which, const std::vector<Snapshot>& past, std::size_t period, std::int64_t jumps) {
    const Region& region = regions_[which];
    const Snapshot& now = past.back();
    const Snapshot& then = past[past.size() - 1 - period];
    compute_ += jumps * (now.compute - then.compute);
    exposed_ += jumps * (now.exposed - then.exposed);
    for (std::size_t queue = 0; queue < queue_count; ++queue) {
      busy_[queue] += jumps * (now.busy[queue] - then.busy[queue]);
      if (region.count[queue] > 0) ready_[queue] += jumps * (now.ready[queue] - then.ready[queue]);
    }
    for (std::size_t i = 0; i < region.steps.size(); ++i) {
      for (std::size_t bound = 0; bound < bounds.size(); ++bound) {
        step_time_[region.steps[i]][bound] += jumps * (now.step_time[i][bound] - then.step_time[i][bound]);
      }
    }
    const std::size_t turns = static_cast<std::size_t>(std::min<std::int64_t>(
        jumps * static_cast<std::int64_t>(period), static_cast<std::int64_t>(depth * max_period)));
    for (std::size_t i = 0; i < region.entries.size(); ++i) {
      const std::uint32_t entry = region.entries[i];
      const Time shift = now.ends[i][0] - then.ends[i][0];
      for (std::size_t age = 0; age < depth; ++age) {
        Time& end = ends_[entry][age];
        if (owner_[entry] != which) {
          end = now.ends[i][age] + jumps * shift;
        } else if (age >= turns) {
          end = now.ends[i][age - turns];
        } else {
          const std::size_t back = age % period;
          end = past[past.size() - 1 - back].ends[i][0] + (jumps - static_cast<Time>(age / period)) * shift;
        }
      }
    }
  }

  const Record& record_;
  const std::vector<Record::Item>& items_;
  std::vector<std::int64_t> ordinal_;  ///< of a transfer, in its queue
  std::vector<std::size_t> place_;     ///< item of an entry
  std::vector<std::size_t> owner_;     ///< innermost repeated region of a transfer
  std::vector<Time> time_;             ///< of one execution
  std::vector<Bound> bound_;
  std::vector<StepTime> step_time_;
  std::vector<Region> regions_;
  std::vector<double> item_time_;
  std::vector<Ends> ends_;
  std::array<std::vector<std::uint32_t>, queue_count> of_queue_;

  std::vector<Active> active_;
  Time compute_ = 0;
  std::array<Time, queue_count> ready_{};
  std::array<Time, queue_count> busy_{};
  Time exposed_ = 0;
  Time end_ = 0;
  bool is_first_ = true;
};

}  // namespace ltxmem::detail
