// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/memory_observer.hpp"

/// What a dry run saw, in order: operations and transfers with their cost, who waits for which transfer, and what
/// memory was taken and given back, each under the step that issued it.
///
/// Loops are collapsed while recording, so an entry counts for several executions. Memory: about a hundred bytes per
/// distinct entry, independent of tokens and of the number of equal blocks.

namespace ltxmem {

/// In-order queues of a machine that work beside each other: arithmetic, the two directions of the link between host
/// and device, messages to other ranks, reads of files, the two directions of the link to the memory of other devices.
enum class WorkQueue : std::uint8_t { compute, copy_in, copy_out, network, disk, peer_in, peer_out };
inline constexpr std::array work_queues{WorkQueue::compute, WorkQueue::copy_in, WorkQueue::copy_out, WorkQueue::network,
                                        WorkQueue::disk,    WorkQueue::peer_in, WorkQueue::peer_out};

/// What limits the rate of an operation's flops: matrix products by operand type (accumulated in fp32), attention by
/// the type of its queries, or the rest.
enum class Arithmetic : std::uint8_t { vector, f32, bf16, f16, f8, f32_attention, bf16_attention, f16_attention };

/// The arithmetic of products of activations of type T.
template <Element T>
constexpr Arithmetic matrix_arithmetic() noexcept {
  return sizeof(T) == 4 ? Arithmetic::f32 : std::is_same_v<T, bfloat16> ? Arithmetic::bf16 : Arithmetic::f16;
}

/// The arithmetic of attention of queries, keys and values of type T: two products and the softmax between them.
template <Element T>
constexpr Arithmetic attention_arithmetic() noexcept {
  return sizeof(T) == 4                ? Arithmetic::f32_attention
         : std::is_same_v<T, bfloat16> ? Arithmetic::bf16_attention
                                       : Arithmetic::f16_attention;
}

class Record final : public MemoryObserver {
 public:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  /// Names an entry that can be waited for; made by default it names nothing, and waiting for it takes no time.
  struct Event {
    std::uint32_t entry = none;
  };

  /// What a transfer waits for besides earlier ones of its queue.
  struct TransferOrder {
    bool after_compute = true;  ///< all compute work recorded before
    Event after{};              ///< a transfer of another queue
  };

  struct Entry {
    const char* operation;
    WorkQueue queue;
    Arithmetic arithmetic;
    bool after_compute;
    std::uint32_t after;  ///< entry or none
    std::uint32_t step;   ///< index into steps()
    std::int64_t flops;   ///< of one execution
    std::int64_t bytes;   ///< of one execution: memory read and written, or bytes transferred
    std::int64_t times;
  };

  struct StepName {
    std::size_t parent;
    const char* name;
    std::int64_t index;  ///< -1: not numbered
  };

  /// One thing that happened. index: of the entry that runs or is waited for, or of the region that begins or ends.
  struct Item {
    enum class Kind : std::uint8_t { entry, wait, begin, end } kind;
    std::uint32_t index;
    std::uint32_t step;
  };

  /// Part of the timeline that happens several times in a row; times 1: a whole loop, turns that differ included.
  struct Region {
    std::int64_t times;
    std::size_t begin;  ///< its items are [begin, end), without the begin and end items themselves
    std::size_t end;
  };

  /// A buffer taken (bytes > 0) or given back (bytes < 0) before item `position` of the timeline.
  struct MemoryChange {
    MemorySpace space;
    std::uint32_t name;  ///< index into buffer_names()
    std::uint32_t step;
    std::uint32_t position;
    std::int64_t bytes;
  };

  struct Totals {
    std::int64_t steps = 0;  ///< named steps entered
    std::int64_t operations = 0;
    double flops = 0;                 ///< a long guided clip passes 2^63
    std::int64_t bytes = 0;           ///< of compute operations
    std::int64_t transfer_bytes = 0;  ///< of the copy queues, to the host and to other devices
    std::int64_t message_bytes = 0;   ///< of each exchange the longer direction
    std::int64_t disk_bytes = 0;

    Totals& operator+=(const Totals& other) noexcept {
      steps += other.steps;
      operations += other.operations;
      flops += other.flops;
      bytes += other.bytes;
      transfer_bytes += other.transfer_bytes;
      message_bytes += other.message_bytes;
      disk_bytes += other.disk_bytes;
      return *this;
    }
    friend bool operator==(const Totals&, const Totals&) = default;
  };

  Record() { steps_.push_back({0, "", -1}); }

  // --------------------------------------------------------------------------------------------------- recording

  void add_compute(const char* operation, Arithmetic arithmetic, std::int64_t flops, std::int64_t bytes) {
    add({operation, WorkQueue::compute, arithmetic, false, none, step_, flops, bytes, times_});
  }
  Event add_transfer(WorkQueue queue, const char* operation, std::int64_t bytes) {
    return add_transfer(queue, operation, bytes, TransferOrder());
  }
  Event add_transfer(WorkQueue queue, const char* operation, std::int64_t bytes, TransferOrder order) {
    expects<Error>(queue != WorkQueue::compute, "record: ", operation, " is no transfer");
    add({operation, queue, Arithmetic::vector, order.after_compute, order.after.entry, step_, 0, bytes, times_});
    return {static_cast<std::uint32_t>(entries_.size() - 1)};
  }
  /// Compute work recorded later starts after that transfer.
  void wait(Event event) {
    if (event.entry != none) timeline_.push_back({Item::Kind::wait, event.entry, step_});
  }

  void enter_step(const char* name, std::int64_t index) {
    steps_.push_back({step_, name, index});
    step_ = static_cast<std::uint32_t>(steps_.size() - 1);
    steps_entered_ += times_;
  }
  void leave_step() noexcept { step_ = static_cast<std::uint32_t>(steps_[step_].parent); }

  /// Everything until the matching end counts this many times.
  void begin_repeated(std::int64_t times) {
    timeline_.push_back({Item::Kind::begin, static_cast<std::uint32_t>(regions_.size()), step_});
    open_.push_back(static_cast<std::uint32_t>(regions_.size()));
    regions_.push_back({times, timeline_.size(), 0});
    times_ *= times;
  }
  void end_repeated() noexcept {
    Region& region = regions_[open_.back()];
    region.end = timeline_.size();
    times_ /= region.times;
    timeline_.push_back({Item::Kind::end, open_.back(), step_});
    open_.pop_back();
  }

  void taken(MemorySpace space, const char* name, std::size_t bytes) override {
    change(space, name, static_cast<std::int64_t>(bytes));
    Level& level = levels_[static_cast<std::size_t>(space)];
    level.now += bytes;
    if (level.now <= level.peak) return;
    level.peak = level.now;
    level.peak_change = memory_.size();
  }
  void released(MemorySpace space, const char* name, std::size_t bytes) noexcept override {
    change(space, name, -static_cast<std::int64_t>(bytes));
    levels_[static_cast<std::size_t>(space)].now -= bytes;
  }

  // ----------------------------------------------------------------------------------------------------- reading

  const std::vector<Entry>& entries() const noexcept { return entries_; }
  const std::vector<StepName>& steps() const noexcept { return steps_; }
  const std::vector<Item>& timeline() const noexcept { return timeline_; }
  const std::vector<Region>& regions() const noexcept { return regions_; }
  const std::vector<MemoryChange>& memory() const noexcept { return memory_; }
  const std::vector<const char*>& buffer_names() const noexcept { return names_; }

  std::size_t peak_bytes(MemorySpace space) const noexcept { return levels_[static_cast<std::size_t>(space)].peak; }

  MemoryPeak peak(MemorySpace space) const {
    const Level& level = levels_[static_cast<std::size_t>(space)];
    MemoryPeak peak{space, level.peak, {}, {}};
    if (level.peak_change == 0) return peak;
    peak.step = step_path(memory_[level.peak_change - 1].step);
    std::vector<BufferSum> sums(names_.size());
    for (std::size_t i = 0; i < level.peak_change; ++i) {
      const MemoryChange& change = memory_[i];
      if (change.space != space) continue;
      sums[change.name].bytes += static_cast<std::size_t>(change.bytes);
      sums[change.name].count += change.bytes > 0 ? 1 : -1;
    }
    for (std::size_t name = 0; name < sums.size(); ++name) {
      if (sums[name].bytes == 0) continue;
      sums[name].name = names_[name];
      peak.buffers.push_back(std::move(sums[name]));
    }
    std::stable_sort(peak.buffers.begin(), peak.buffers.end(),
                     [](const BufferSum& a, const BufferSum& b) { return a.bytes > b.bytes; });
    return peak;
  }

  /// "block 0, queries": the names from the outermost step inwards; numbered says whether "0" is part of it.
  std::string step_path(std::size_t step, bool numbered = true) const {
    std::string path;
    for (; step != 0; step = steps_[step].parent) {
      std::string part = steps_[step].name;
      if (numbered && steps_[step].index >= 0) part += " " + std::to_string(steps_[step].index);
      path = path.empty() ? std::move(part) : std::move(part) + ", " + path;
    }
    return path;
  }

  Totals totals() const {
    Totals sum;
    sum.steps = steps_entered_;
    for (const Entry& entry : entries_) {
      const std::int64_t bytes = entry.bytes * entry.times;
      switch (entry.queue) {
        case WorkQueue::compute:
          sum.operations += entry.times;
          sum.flops += static_cast<double>(entry.flops) * static_cast<double>(entry.times);
          sum.bytes += bytes;
          break;
        case WorkQueue::copy_in:
        case WorkQueue::copy_out:
        case WorkQueue::peer_in:
        case WorkQueue::peer_out: sum.transfer_bytes += bytes; break;
        case WorkQueue::network: sum.message_bytes += bytes; break;
        case WorkQueue::disk: sum.disk_bytes += bytes; break;
      }
    }
    return sum;
  }

 private:
  struct Level {
    std::size_t now = 0;
    std::size_t peak = 0;
    std::size_t peak_change = 0;  ///< changes up to the peak
  };

  void add(const Entry& entry) {
    timeline_.push_back({Item::Kind::entry, static_cast<std::uint32_t>(entries_.size()), step_});
    entries_.push_back(entry);
  }

  void change(MemorySpace space, const char* name, std::int64_t bytes) {
    if (bytes == 0) return;
    memory_.push_back({space, name_index(name), step_, static_cast<std::uint32_t>(timeline_.size()), bytes});
  }

  /// Names are few; equal literals may have several addresses.
  std::uint32_t name_index(const char* name) {
    const auto known = [name](const char* other) { return other == name || std::string_view(other) == name; };
    const auto at = std::find_if(names_.begin(), names_.end(), known);
    if (at != names_.end()) return static_cast<std::uint32_t>(at - names_.begin());
    names_.push_back(name);
    return static_cast<std::uint32_t>(names_.size() - 1);
  }

  std::vector<Entry> entries_;
  std::vector<StepName> steps_;
  std::vector<Item> timeline_;
  std::vector<Region> regions_;
  std::vector<std::uint32_t> open_;
  std::vector<MemoryChange> memory_;
  std::vector<const char*> names_;
  std::array<Level, memory_spaces.size()> levels_{};
  std::uint32_t step_ = 0;
  std::int64_t times_ = 1;
  std::int64_t steps_entered_ = 0;
};

}  // namespace ltxmem
