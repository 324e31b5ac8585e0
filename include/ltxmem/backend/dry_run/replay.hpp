// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ltxmem/backend/dry_run/bound.hpp"
#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/backend/dry_run/record.hpp"
#include "ltxmem/backend/dry_run/replayer.hpp"

namespace ltxmem {

/// What a replay predicts.
struct Replay {
  struct Queue {
    double busy_seconds = 0;
    double idle_seconds = 0;  ///< of the whole run
  };
  /// Time in which the compute queue worked in a step, or waited there for a transfer; inner steps not included.
  struct Step {
    std::string path;
    std::array<double, bounds.size()> seconds_by_bound{};

    double seconds() const noexcept {
      double sum = 0;
      for (const double part : seconds_by_bound) sum += part;
      return sum;
    }
    /// What most of its time goes to.
    Bound bound() const noexcept {
      const auto most = std::max_element(seconds_by_bound.begin(), seconds_by_bound.end());
      return bounds[static_cast<std::size_t>(most - seconds_by_bound.begin())];
    }
  };

  double seconds = 0;
  std::array<Queue, work_queues.size()> queues{};  ///< indexed by WorkQueue
  double exposed_seconds = 0;                      ///< compute stands still because a transfer has not ended
  std::vector<Step> steps;                         ///< numbers left out ("block, queries"), in order of appearance
  /// When each item of the record's timeline was issued, and the end as one more. A collapsed loop is drawn out: its
  /// one recorded turn spans the time of all the turns it stands for.
  std::vector<double> item_seconds;

  const Queue& queue(WorkQueue which) const noexcept { return queues[static_cast<std::size_t>(which)]; }
};

/// Runs a record on a machine that has each queue once: an operation starts after earlier ones and after the transfers
/// waited for before it; a transfer starts after earlier ones of its queue, after compute work recorded before it
/// (unless its order says otherwise) and after the transfer its order names.
///
/// Exact for collapsed loops: turns are played until one equals the turn before but for a shift in time, and only the
/// rest is multiplied. A wait for a transfer of an earlier turn means, in the n-th turn, that of the turn as much
/// earlier.
///
/// Cost      linear in the entries of the record, times the turns until a loop is steady (a few)
/// Numerics  whole nanoseconds inside, each operation at least one
/// Throws    Error when a profile lacks a rate that is needed
inline Replay replay(const Record& record, const DeviceProfile& profile) {
  detail::Replayer replayer(record, profile);
  replayer.run();

  Replay result;
  result.seconds = replayer.end_seconds();
  result.exposed_seconds = replayer.exposed_seconds();
  for (const WorkQueue queue : work_queues) {
    const double busy = replayer.busy_seconds(queue);
    result.queues[static_cast<std::size_t>(queue)] = {busy, result.seconds - busy};
  }
  std::unordered_map<std::string, std::size_t> known;
  for (std::size_t step = 0; step < record.steps().size(); ++step) {
    const auto& seconds = replayer.step_seconds(step);
    if (std::all_of(seconds.begin(), seconds.end(), [](double part) { return part == 0; })) continue;
    std::string path = record.step_path(step, false);
    const auto [at, is_new] = known.try_emplace(path, result.steps.size());
    if (is_new) result.steps.push_back({std::move(path), {}});
    for (std::size_t bound = 0; bound < seconds.size(); ++bound) {
      result.steps[at->second].seconds_by_bound[bound] += seconds[bound];
    }
  }
  result.item_seconds = replayer.item_seconds();
  return result;
}

/// Bytes of each buffer name over time, in one memory space: what a picture of memory is drawn from.
struct MemorySeries {
  std::vector<double> seconds;  ///< right border of each column
  struct Buffer {
    std::string name;
    std::vector<std::size_t> bytes;  ///< per column
  };
  std::vector<Buffer> buffers;  ///< in order of appearance
};

/// Cuts the run into columns of equal time; a column shows the moment in it at which the space held most, so that the
/// peak is in the picture to the byte however narrow it is.
///
/// Memory    columns x names numbers
inline MemorySeries memory_series(const Record& record, const Replay& replay, MemorySpace space, std::size_t columns) {
  expects(columns > 0, "memory_series: 0 columns");
  MemorySeries series;
  std::vector<std::size_t> now(record.buffer_names().size());
  std::vector<std::vector<std::size_t>> shown(columns, now);
  std::size_t total = 0;
  std::size_t column = 0;
  std::size_t most = 0;
  const double width = replay.seconds / static_cast<double>(columns);
  for (const Record::MemoryChange& change : record.memory()) {
    if (change.space != space) continue;
    const double at = replay.item_seconds[change.position];
    const auto target = width > 0 ? std::min(columns - 1, static_cast<std::size_t>(at / width)) : columns - 1;
    while (column < target) {
      ++column;
      shown[column] = now;
      most = total;
    }
    now[change.name] += static_cast<std::size_t>(change.bytes);
    total += static_cast<std::size_t>(change.bytes);
    if (total > most) {
      most = total;
      shown[column] = now;
    }
  }
  for (++column; column < columns; ++column) shown[column] = now;
  for (std::size_t i = 0; i < columns; ++i) series.seconds.push_back(width * static_cast<double>(i + 1));
  for (std::size_t name = 0; name < now.size(); ++name) {
    MemorySeries::Buffer buffer{record.buffer_names()[name], {}};
    for (const std::vector<std::size_t>& bytes : shown) buffer.bytes.push_back(bytes[name]);
    if (std::any_of(buffer.bytes.begin(), buffer.bytes.end(), [](std::size_t bytes) { return bytes > 0; })) {
      series.buffers.push_back(std::move(buffer));
    }
  }
  return series;
}

}  // namespace ltxmem
