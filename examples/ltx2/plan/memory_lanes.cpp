// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "plan/memory_plot.hpp"

namespace ltx2 {
namespace {

constexpr std::size_t total_columns = 420;
constexpr std::size_t least_columns = 42;  // room for the name of a stage
constexpr std::size_t shown_areas = 8;

/// What a memory space holds at a time, by buffer.
using Moment = std::vector<std::pair<std::string, std::size_t>>;

/// The columns of a lane while they are filled.
class Columns {
 public:
  explicit Columns(std::size_t count) : totals_(count) {}

  /// Shows a moment in these columns unless more is held at another one.
  void show(std::size_t first, std::size_t last, const Moment& moment) {
    std::size_t total = 0;
    for (const auto& [name, bytes] : moment) total += bytes;
    for (std::size_t column = first; column <= last; ++column) {
      if (total <= totals_[column]) continue;
      totals_[column] = total;
      for (MemoryLane::Area& area : areas_) area.bytes[column] = 0;
      for (const auto& [name, bytes] : moment) bytes_of(name)[column] += bytes;
    }
  }

  /// The column among these that shows most.
  std::size_t most(std::size_t first, std::size_t count) const {
    const auto begin = totals_.begin() + static_cast<std::ptrdiff_t>(first);
    return static_cast<std::size_t>(std::max_element(begin, begin + static_cast<std::ptrdiff_t>(count)) -
                                    totals_.begin());
  }
  std::size_t total(std::size_t column) const { return totals_[column]; }

  /// Largest first; what is over the number shown is summed.
  std::vector<MemoryLane::Area> areas() && {
    for (MemoryLane::Area& area : areas_) area.most = *std::max_element(area.bytes.begin(), area.bytes.end());
    std::erase_if(areas_, [](const MemoryLane::Area& area) { return area.most == 0; });
    std::stable_sort(areas_.begin(), areas_.end(),
                     [](const MemoryLane::Area& a, const MemoryLane::Area& b) { return a.most > b.most; });
    if (areas_.size() <= shown_areas + 1) return std::move(areas_);
    MemoryLane::Area rest{"other (" + std::to_string(areas_.size() - shown_areas) + " buffers)",
                          std::vector<std::size_t>(totals_.size()), 0};
    for (std::size_t i = shown_areas; i < areas_.size(); ++i) {
      for (std::size_t column = 0; column < totals_.size(); ++column) rest.bytes[column] += areas_[i].bytes[column];
    }
    rest.most = *std::max_element(rest.bytes.begin(), rest.bytes.end());
    areas_.resize(shown_areas);
    areas_.push_back(std::move(rest));
    return std::move(areas_);
  }

 private:
  std::vector<std::size_t>& bytes_of(const std::string& name) {
    const auto [at, is_new] = known_.try_emplace(name, areas_.size());
    if (is_new) areas_.push_back({name, std::vector<std::size_t>(totals_.size()), 0});
    return areas_[at->second].bytes;
  }

  std::vector<std::size_t> totals_;
  std::vector<MemoryLane::Area> areas_;
  std::unordered_map<std::string, std::size_t> known_;
};

Moment moment_of(const std::vector<ltxmem::BufferSum>& buffers) {
  Moment moment;
  for (const ltxmem::BufferSum& buffer : buffers) moment.emplace_back(buffer.name, buffer.bytes);
  return moment;
}

void show_stage(Columns& columns, const PlottedStage& stage, const MemoryPlotColumns::Stage& where,
                ltxmem::MemorySpace space) {
  const auto index = static_cast<std::size_t>(space);
  const std::size_t last = where.first + where.count - 1;
  const auto column_at = [&](double seconds) {
    if (where.seconds <= 0) return where.first;
    return std::min(last,
                    where.first + static_cast<std::size_t>(static_cast<double>(where.count) * seconds / where.seconds));
  };
  double begin = 0;
  for (const PlottedPart& part : stage.parts) {
    const double end = begin + part.replay->seconds;
    const std::size_t count = column_at(end) - column_at(begin) + 1;
    const ltxmem::MemorySeries series = ltxmem::memory_series(*part.record, *part.replay, space, count);
    const Moment held = moment_of(part.held[index]);
    columns.show(column_at(begin), column_at(end), held);
    for (std::size_t i = 0; i < count; ++i) {
      Moment moment = held;
      for (const ltxmem::MemorySeries::Buffer& buffer : series.buffers)
        moment.emplace_back(buffer.name, buffer.bytes[i]);
      columns.show(column_at(begin) + i, column_at(begin) + i, moment);
    }
    begin = end;
  }
  columns.show(last, last, moment_of(stage.at_peak[index].buffers));
}

/// "stage, step" of the most that a stage holds.
std::string peak_step(const PlottedStage& stage, ltxmem::MemorySpace space, std::size_t bytes) {
  const auto index = static_cast<std::size_t>(space);
  for (const PlottedPart& part : stage.parts) {
    std::size_t sum = part.record->peak_bytes(space);
    for (const ltxmem::BufferSum& buffer : part.held[index]) sum += buffer.bytes;
    if (sum != bytes) continue;
    const std::string step = part.record->peak(space).step;
    return step.empty() ? stage.name : stage.name + ", " + step;
  }
  const std::string& step = stage.at_peak[index].step;
  return step.empty() ? stage.name : stage.name + ", " + step;
}

}  // namespace

MemoryPlotColumns plot_columns(const MemoryPlot& plot) {
  ltxmem::expects(!plot.stages.empty(), "memory plot: no stage");
  MemoryPlotColumns columns;
  double seconds = 0;
  for (const PlottedStage& stage : plot.stages) {
    columns.stages.emplace_back();
    for (const PlottedPart& part : stage.parts) columns.stages.back().seconds += part.replay->seconds;
    seconds += columns.stages.back().seconds;
  }
  const std::size_t least = std::min(least_columns, std::max<std::size_t>(1, total_columns / (2 * plot.stages.size())));
  // Stages too short for their share get the least; the others divide what is left.
  std::size_t left = total_columns;
  for (bool moved = true; moved;) {
    moved = false;
    for (MemoryPlotColumns::Stage& stage : columns.stages) {
      const double share = static_cast<double>(left) * stage.seconds / seconds;  // not a number if no time is left
      if (stage.count > 0 || share >= static_cast<double>(least)) continue;
      stage.count = least;
      left -= least;
      seconds -= stage.seconds;
      moved = true;
    }
  }
  for (MemoryPlotColumns::Stage& stage : columns.stages) {
    if (stage.count == 0) {
      stage.count = static_cast<std::size_t>(std::lround(static_cast<double>(left) * stage.seconds / seconds));
      left -= stage.count;
      seconds -= stage.seconds;
    }
    stage.first = columns.count;
    columns.count += stage.count;
  }
  return columns;
}

std::vector<MemoryLane> memory_lanes(const MemoryPlot& plot) {
  const MemoryPlotColumns where = plot_columns(plot);
  std::vector<MemoryLane> lanes;
  for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
    Columns columns(where.count);
    MemoryLane lane;
    lane.space = space;
    for (std::size_t i = 0; i < plot.stages.size(); ++i) {
      show_stage(columns, plot.stages[i], where.stages[i], space);
      const std::size_t most = columns.most(where.stages[i].first, where.stages[i].count);
      if (columns.total(most) <= lane.peak_bytes) continue;
      lane.peak_bytes = columns.total(most);
      lane.peak_column = most;
      lane.peak_step = peak_step(plot.stages[i], space, lane.peak_bytes);
    }
    if (lane.peak_bytes == 0) continue;
    lane.areas = std::move(columns).areas();
    lanes.push_back(std::move(lane));
  }
  return lanes;
}

}  // namespace ltx2
