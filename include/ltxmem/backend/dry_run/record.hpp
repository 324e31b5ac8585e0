// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"

/// What a dry run saw: every operation and transfer with its cost, in order, under the step that issued it.
///
/// Loops are collapsed while recording, so an entry counts for several executions. Memory: a few dozen bytes per
/// distinct entry, independent of tokens and of the number of equal blocks.

namespace ltxmem {

enum class WorkQueue : std::uint8_t { compute, copy_in, copy_out };

class Record {
 public:
  struct Entry {
    const char* operation;
    WorkQueue queue;
    std::int64_t flops;  ///< of one execution
    std::int64_t bytes;  ///< of one execution: memory read and written, or bytes transferred
    std::int64_t times;
    std::size_t step;  ///< index into steps()
  };

  struct StepName {
    std::size_t parent;
    const char* name;
    std::int64_t index;  ///< -1: not numbered
  };

  struct Totals {
    std::int64_t steps = 0;  ///< named steps entered
    std::int64_t operations = 0;
    std::int64_t flops = 0;
    std::int64_t bytes = 0;           ///< of compute operations
    std::int64_t transfer_bytes = 0;  ///< of both copy queues
  };

  Record() { steps_.push_back({0, "", -1}); }

  void add(const char* operation, WorkQueue queue, std::int64_t flops, std::int64_t bytes) {
    entries_.push_back({operation, queue, flops, bytes, times_, step_});
  }

  void enter_step(const char* name, std::int64_t index) {
    steps_.push_back({step_, name, index});
    step_ = steps_.size() - 1;
    steps_entered_ += times_;
  }
  void leave_step() noexcept { step_ = steps_[step_].parent; }

  /// Everything until the matching end counts this many times.
  void begin_repeated(std::int64_t times) {
    outer_times_.push_back(times_);
    times_ *= times;
  }
  void end_repeated() noexcept {
    times_ = outer_times_.back();
    outer_times_.pop_back();
  }

  const std::vector<Entry>& entries() const noexcept { return entries_; }
  const std::vector<StepName>& steps() const noexcept { return steps_; }

  /// "block 0, queries": the names from the outermost step inwards.
  std::string step_path(std::size_t step) const {
    std::string path;
    for (; step != 0; step = steps_[step].parent) {
      std::string part = steps_[step].name;
      if (steps_[step].index >= 0) part += " " + std::to_string(steps_[step].index);
      path = path.empty() ? std::move(part) : std::move(part) + ", " + path;
    }
    return path;
  }

  Totals totals() const {
    Totals sum;
    sum.steps = steps_entered_;
    for (const Entry& entry : entries_) {
      if (entry.queue == WorkQueue::compute) {
        sum.operations += entry.times;
        sum.flops += entry.flops * entry.times;
        sum.bytes += entry.bytes * entry.times;
      } else {
        sum.transfer_bytes += entry.bytes * entry.times;
      }
    }
    return sum;
  }

 private:
  std::vector<Entry> entries_;
  std::vector<StepName> steps_;
  std::size_t step_ = 0;
  std::int64_t times_ = 1;
  std::int64_t steps_entered_ = 0;
  std::vector<std::int64_t> outer_times_;
};

}  // namespace ltxmem
